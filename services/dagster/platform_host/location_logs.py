"""What runs print, as the webserver shows it: read from the gateway of each run's location.

A run's process writes files to the volume of its location, which the location's gateway serves
(services/proxies/compute_logs.lua). Webserver and daemon do not mount it, so a link that a run made leads nowhere here.
"""

import http.client
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dagster import DagsterInstance, DagsterRun, Field
from dagster._config import UserConfigSchema
from dagster._core.storage.cloud_storage_compute_log_manager import CloudStorageComputeLogManager
from dagster._core.storage.compute_log_manager import (
    MAX_BYTES_CHUNK_READ,
    CapturedLogData,
    CapturedLogSubscription,
    ComputeIOType,
)
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from sqlalchemy.exc import SQLAlchemyError

from platform_host.run_policy import LOCATION, resource_name

# As in services/proxies/compute_logs.cfg.
PORT = 8080
LOG_PATH = re.compile(r"[0-9a-f-]{36}/compute_logs/[a-z0-9_-]+")
TIMEOUT_SECONDS = 5
POLL_SECONDS = 2
# Of each file: what the UI shows, and what it lets one download. A file may be endless.
SHOWN_BYTES = 50 * MAX_BYTES_CHUNK_READ
COPY_SECONDS = 60


class GatewayAwayError(RuntimeError):
    """A location's gateway does not serve its logs; the message names the location and the next step."""


class LocationLogs(CloudStorageComputeLogManager[DagsterInstance], ConfigurableClass):
    """The compute log manager of webserver and daemon; it only reads.

    Its base class is the one whose logs are elsewhere: the webserver offers a copy to download for it.

    Args:
        host: what serves the logs of a location, with {location} for its name and {name} for that with dashes.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None, host: str = "{location}") -> None:
        self._inst_data = inst_data
        self._host = host
        self._folder = Path(tempfile.gettempdir()) / "compute_logs"
        self._copies = LocalComputeLogManager(str(self._folder))

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {"host": Field(str, default_value="{location}")}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "LocationLogs":
        return cls(inst_data, **config_value)

    @contextmanager
    def open_log_stream(self, log_key: Sequence[str], io_type: ComputeIOType) -> Iterator[IO[bytes] | None]:
        """Keeps nothing: what the daemon logs is in its own output."""
        yield None

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:
        """Whether the file of a log gets no more lines: its run has marked it, or has ended in another way."""
        try:
            if self._read(log_key, "complete", 0) is not None:
                return True
        except GatewayAwayError:
            return False
        run = self._run(log_key)
        return run is None or run.is_finished

    def get_log_data_for_type(
        self, log_key: Sequence[str], io_type: ComputeIOType, offset: int, max_bytes: int | None
    ) -> tuple[bytes | None, int]:
        """At most MAX_BYTES_CHUNK_READ bytes of a log from an offset on, and the offset of the next.

        While the location's gateway is away, a log that is looked at from its start says so, and its offset stays.
        """
        if offset >= SHOWN_BYTES:
            return None, offset
        try:
            data = self._read(log_key, IO_TYPE_EXTENSION[io_type], offset)
        except GatewayAwayError as error:
            return None if offset else f"{error}\n".encode(), offset
        if not data:
            return data, offset
        data = data[:max_bytes]
        offset += len(data)
        if offset >= SHOWN_BYTES:
            data += f"\n[Only the first {SHOWN_BYTES // 2**20} MiB are shown.]\n".encode()
        return data, offset

    def _read(self, log_key: Sequence[str], extension: str, offset: int) -> bytes | None:
        """Asks the gateway for a chunk of a file; None if there is no such file."""
        location = self._location(log_key)
        if location is None:
            return None
        host = self._host.format(location=location, name=resource_name(location))
        connection = http.client.HTTPConnection(host, PORT, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", f"/{'/'.join(log_key)}.{extension}?offset={offset}")
            response = connection.getresponse()
            if response.status == http.client.NOT_FOUND:
                return None
            if response.status != http.client.OK:
                raise OSError(f"HTTP status {response.status}")
            return response.read(MAX_BYTES_CHUNK_READ)
        except (OSError, http.client.HTTPException) as error:
            raise GatewayAwayError(
                f"The log cannot be read, because the gateway of {location} does not serve it: {error}.\n"
                f"It is shown as soon as `docker compose ps {location}_gateway` says that it is healthy."
            ) from error
        finally:
            connection.close()

    def _run(self, log_key: Sequence[str]) -> DagsterRun | None:
        """The run whose log this is; None for the key of another log."""
        return self._instance.get_run_by_id(log_key[0]) if LOG_PATH.fullmatch("/".join(log_key)) else None

    def _location(self, log_key: Sequence[str]) -> str | None:
        run = self._run(log_key)
        origin = run.remote_job_origin if run else None
        return origin.location_name if origin and re.fullmatch(LOCATION, origin.location_name) else None

    def subscribe(self, log_key: Sequence[str], cursor: str | None = None) -> CapturedLogSubscription:
        return _Following(self, log_key, cursor)

    def delete_logs(self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None) -> None:
        """Deletes nothing: the location's gateway deletes a log when it is old."""

    # --- the webserver's download of a log, which is a copy in a folder of its own -----------------------------------

    @property
    def local_manager(self) -> LocalComputeLogManager:
        return self._copies

    @property
    def upload_interval(self) -> int | None:
        return None

    def download_url_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str | None:
        return "/".join(["/logs", *log_key, IO_TYPE_EXTENSION[io_type]])

    def display_path_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str:
        return f"{'/'.join(log_key)}.{IO_TYPE_EXTENSION[io_type]} in the volume {self._location(log_key)}_compute_logs"

    def cloud_storage_has_logs(self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False) -> bool:
        return True

    def has_local_file(self, log_key: Sequence[str], io_type: ComputeIOType) -> bool:
        """Says no, so that each download is a new copy: the log may have grown."""
        return False

    def upload_to_cloud_storage(self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False) -> None:
        raise NotImplementedError("Webserver and daemon write no logs.")

    def download_from_cloud_storage(
        self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        """Copies what the UI shows of a log, if there is one, and removes copies that were sent long ago."""
        for old in self._folder.rglob("*"):
            # Another download may remove it first.
            with suppress(FileNotFoundError):
                if old.is_file() and old.stat().st_mtime < time.time() - COPY_SECONDS:
                    old.unlink()
        path = Path(self._copies.get_captured_local_path(log_key, IO_TYPE_EXTENSION[io_type]))
        path.unlink(missing_ok=True)
        data, offset = self.get_log_data_for_type(log_key, io_type, 0, None)
        if data is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as copy:
            copy.write(data)
            while offset and data:
                data, offset = self.get_log_data_for_type(log_key, io_type, offset, None)
                copy.write(data or b"")
        Path(copy.name).rename(path)


class _Following(CapturedLogSubscription):
    """A view of a log in the UI, which is told what the log gets until it is complete or the view is closed."""

    def __init__(self, manager: LocationLogs, log_key: Sequence[str], cursor: str | None) -> None:
        super().__init__(manager, log_key, cursor)
        self._closed = threading.Event()

    def __call__(self, observer: Callable[[CapturedLogData], None] | None) -> "_Following":
        self._observer = observer
        self._look()
        if not self.is_complete:
            threading.Thread(target=self._follow, name="log view", daemon=True).start()
        return self

    def _follow(self) -> None:
        while not (self.is_complete or self._closed.wait(POLL_SECONDS)):
            # While Postgres is away, nothing is new.
            with suppress(SQLAlchemyError):
                self._look()

    def _look(self) -> None:
        # Asked before the last look at the log, which so has all.
        complete = self._manager.is_capture_complete(self._log_key)
        self.fetch()
        if complete:
            self.complete()
            # Dagster ends the view with the update after this.
            if self._observer:
                self._observer(CapturedLogData(self._log_key, cursor=self._cursor))

    def dispose(self) -> None:
        self._closed.set()
