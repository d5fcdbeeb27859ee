"""The TLC's site, or a copy of it: where each file is, which version it has, and how it is fetched."""

import contextlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from email.utils import formatdate
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import dagster as dg
import requests

from ingestion_location.download import FetchedFile, FileVersion, Limits, fetch
from ingestion_location.progress import Log
from ingestion_location.settings import read_settings
from ingestion_location.source_errors import FileUnavailable, check_status, explained_errors
from ingestion_location.web import ForbiddenRedirect, SourceSession, version_of

# A month that the TLC published for every taxi type years ago.
PUBLISHED_MONTH = date(2023, 1, 1)
# Timeout of one request. It is short because a tick of a sensor makes several.
LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Published:
    """A file that the source has; its attributes are those of FileVersion that the server sends."""

    url: str
    etag: str | None
    last_modified: str | None
    bytes: int | None

    @property
    def version(self) -> str:
        """Identifies this version of the file."""
        return f"{self.url} {self.etag or f'{self.last_modified} {self.bytes}'}"

    def is_version(self, loaded: FileVersion) -> bool:
        """Whether a loaded file has this URL and is the version that the source still has.

        Only attributes that both sides know are compared, the ETag first. A weak ETag counts like a strong one.
        """
        if self.url != loaded.url:
            return False
        if self.etag and loaded.etag:
            return self.etag.removeprefix("W/") == loaded.etag.removeprefix("W/")
        if self.last_modified and loaded.last_modified and self.last_modified != loaded.last_modified:
            return False
        return self.bytes is None or self.bytes == loaded.bytes


def look(url: str, session: SourceSession, forbidden: Callable[[], str | None]) -> Published | None:
    """Asks the source which version of a file it has, without fetching it; None if it does not have the file.

    Raises SourceBusy or SourceRefused.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if not path.is_file():
            return None
        status = path.stat()
        return Published(url, None, formatdate(status.st_mtime, usegmt=True), status.st_size)
    # identity: a server that compresses its answers may give the compressed file another ETag.
    headers = {"Accept-Encoding": "identity"}
    try:
        with explained_errors(url), session.ask("HEAD", url, timeout=LOOK_SECONDS, headers=headers) as response:
            check_status(url, response, forbidden)
            return Published(url, *version_of(response))
    except FileUnavailable:
        return None


class TlcSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The TLC's site, or a copy of it with the same paths; ``base_url`` has no trailing slash."""

    base_url: str
    taxi_type: str
    limits: Limits = Limits()

    @classmethod
    def from_env(cls) -> Self:
        settings = read_settings()
        # Not the login: Dagster shows and stores what a resource is configured with.
        return cls(base_url=settings.tlc_base_url, taxi_type=settings.tlc_taxi_type)

    @property
    def name(self) -> str:
        """Identifies the source and its login, for which it contains a checksum of 16 bits."""
        login = read_settings().tlc_login
        told = f" {zlib.crc32(login.encode()) & 0xFFFF:04x}" if login else ""
        return f"{self.base_url} {self.taxi_type}{told}"

    def trips_url(self, month: date) -> str:
        return f"{self.base_url}/trip-data/{self.taxi_type}_tripdata_{month:%Y-%m}.parquet"

    @property
    def zones_url(self) -> str:
        return f"{self.base_url}/misc/taxi_zone_lookup.csv"

    @property
    def zone_shapes_url(self) -> str:
        return f"{self.base_url}/misc/taxi_zones.zip"

    def fetch(self, url: str, log: Log, **others: Any) -> AbstractContextManager[FetchedFile]:
        """Fetches a file of the site, for the body of a ``with``; ``download.fetch`` has the arguments and errors."""
        timeout = (self.limits.connect_seconds, self.limits.read_seconds)
        return fetch(url, self.limits, log, forbidden=lambda: self._why_forbidden(url, timeout), **others)

    @contextlib.contextmanager
    def looking(self) -> Iterator[Callable[[str], Published | None]]:
        """Yields a function that takes a URL and returns and raises what ``look`` does."""

        # One request, however many files are forbidden.
        @cache
        def forbidden() -> str | None:
            return self._why_forbidden("", (LOOK_SECONDS, LOOK_SECONDS))

        with SourceSession() as session:
            yield lambda url: look(url, session, forbidden)

    def _why_forbidden(self, url: str, timeout: tuple[float, float]) -> str | None:
        """Why a file that the site answers with 403 is not there; None if the site refuses every file for now.

        The TLC's site answers 403 in both cases. A request for a month that is known to exist distinguishes the two.
        """
        published = self.trips_url(PUBLISHED_MONTH)
        if url == published:
            return None
        status = None
        with contextlib.suppress(requests.RequestException, ForbiddenRedirect), SourceSession() as session:
            status = session.ask("HEAD", published, timeout=timeout).status_code
        if status == 200:
            return (
                f"the source does not have this file (HTTP 403), while it has {PUBLISHED_MONTH:%Y-%m}. The TLC "
                "publishes a month about two months late: choose a published month."
            )
        if status in (404, 410):
            return (
                f"the source does not have this file (HTTP 403), nor {published} (HTTP {status}). Check TLC_BASE_URL "
                "and TLC_TAXI_TYPE."
            )
        return None
