"""Fetching files from the TLC's site or from a copy of it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from ingestion_location.settings import read_source

# Seconds to connect, and to wait for the next bytes.
TIMEOUT = (10, 60)
CHUNK_BYTES = 1 << 20
RETRIES = Retry(total=3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)


class SourceError(RuntimeError):
    """A file could not be fetched; the message names its URL and the next step."""


class TlcSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The TLC's site, or a copy of it with the same paths.

    Attributes:
        base_url: root of the site, without a trailing slash.
        taxi_type: ``yellow`` or ``green``.
    """

    base_url: str
    taxi_type: str

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "TlcSource":
        """Reads TLC_BASE_URL and TLC_TAXI_TYPE; unset or empty is the default.

        Raises:
            SettingError: the URL is not one, or the taxi type is unknown.
        """
        base_url, taxi_type = read_source(env)
        return cls(base_url=base_url, taxi_type=taxi_type)

    def trips_url(self, month: date) -> str:
        """URL of the trip file of the month that starts on ``month``."""
        return f"{self.base_url}/trip-data/{self.taxi_type}_tripdata_{month:%Y-%m}.parquet"

    @property
    def zones_url(self) -> str:
        """URL of the zone lookup."""
        return f"{self.base_url}/misc/taxi_zone_lookup.csv"


@contextlib.contextmanager
def fetch(url: str) -> Iterator[Path]:
    """Yields a local path with the whole content of ``url``; a downloaded copy is deleted afterwards.

    Args:
        url: http, https or file URL.

    Raises:
        SourceError: the source does not have the file, cannot be reached, or sent only a part of it.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if not path.is_file():
            raise SourceError(f"{url}: there is no such file. Check TLC_BASE_URL, or choose a month that it has.")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tlc-") as folder:
        path = Path(folder) / Path(parts.path).name
        try:
            _download(url, path)
        except requests.RequestException as error:
            raise SourceError(
                f"{url}: the source cannot be reached ({_reason(error)}). Check the network and TLC_BASE_URL, "
                "then launch the run again."
            ) from error
        yield path


def _reason(error: requests.RequestException) -> str:
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return str(reason).split("object at 0x")[-1].partition(": ")[2] or str(reason)


def _download(url: str, path: Path) -> None:
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=RETRIES))
        session.mount("https://", HTTPAdapter(max_retries=RETRIES))
        # identity: with a transfer encoding the length could not be checked against what arrived.
        with session.get(url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}) as response:
            # The TLC's site answers 403, not 404, for a month that it has not published.
            if response.status_code in (403, 404):
                raise SourceError(
                    f"{url}: the source does not have this file (HTTP {response.status_code}). The TLC publishes a "
                    "month about two months late: choose a published month, or check TLC_BASE_URL and TLC_TAXI_TYPE."
                )
            if not response.ok:
                raise SourceError(
                    f"{url}: the source answered HTTP {response.status_code}. Launch the run again later."
                )
            with path.open("wb") as file:
                for chunk in response.iter_content(CHUNK_BYTES):
                    file.write(chunk)
            announced = response.headers.get("Content-Length")
    received = path.stat().st_size
    if announced is not None and received != int(announced):
        raise SourceError(
            f"{url}: only {received:,} of {int(announced):,} bytes arrived. Nothing was loaded; launch the run again."
        )
