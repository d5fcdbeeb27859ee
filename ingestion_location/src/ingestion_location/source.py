"""The TLC's site, or a copy of it: where each file is, and how it is fetched."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from functools import cache
from typing import Self

import dagster as dg
import requests

from ingestion_location.download import FetchedFile, FileVersion, Limits, fetch
from ingestion_location.progress import Log
from ingestion_location.published import LOOK_SECONDS, Published, look
from ingestion_location.settings import read_settings

# A month that the TLC published for every taxi type years ago.
PUBLISHED_MONTH = date(2023, 1, 1)


class TlcSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The TLC's site, or a copy of it with the same paths.

    Attributes:
        base_url: root of the site, without a trailing slash.
        taxi_type: ``yellow`` or ``green``.
        limits: of each download.
    """

    base_url: str
    taxi_type: str
    limits: Limits = Limits()

    @classmethod
    def from_env(cls) -> Self:
        """Reads TLC_BASE_URL and TLC_TAXI_TYPE.

        Raises:
            SettingError: a setting is wrong.
        """
        settings = read_settings()
        return cls(base_url=settings.tlc_base_url, taxi_type=settings.tlc_taxi_type)

    def trips_url(self, month: date) -> str:
        """URL of the trip file of the month that starts on ``month``."""
        return f"{self.base_url}/trip-data/{self.taxi_type}_tripdata_{month:%Y-%m}.parquet"

    @property
    def zones_url(self) -> str:
        """URL of the zone lookup."""
        return f"{self.base_url}/misc/taxi_zone_lookup.csv"

    @property
    def zone_shapes_url(self) -> str:
        """URL of the zipped shapefile of the zones."""
        return f"{self.base_url}/misc/taxi_zones.zip"

    def fetch(self, url: str, log: Log, known: FileVersion | None = None) -> AbstractContextManager[FetchedFile]:
        """Fetches a file of the site, for the body of a ``with``; ``download.fetch`` has the arguments and errors."""
        timeout = (self.limits.connect_seconds, self.limits.read_seconds)
        return fetch(url, self.limits, log, forbidden=lambda: self._why_forbidden(url, timeout), known=known)

    @contextlib.contextmanager
    def looking(self) -> Iterator[Callable[[str], Published | None]]:
        """Yields a function that takes a URL and returns and raises what ``published.look`` does."""

        # One request, however many files are forbidden.
        @cache
        def forbidden() -> str | None:
            return self._why_forbidden("", (LOOK_SECONDS, LOOK_SECONDS))

        with requests.Session() as session:
            yield lambda url: look(url, session, forbidden)

    def _why_forbidden(self, url: str, timeout: tuple[float, float]) -> str | None:
        """Why a file that the site answers with 403 is not there; None if the site refuses every file for now.

        The TLC's site answers 403 in both cases. A request for a month that is known to exist tells them apart.
        """
        published = self.trips_url(PUBLISHED_MONTH)
        if url == published:
            return None
        status = None
        with contextlib.suppress(requests.RequestException):
            status = requests.head(published, timeout=timeout, allow_redirects=True).status_code
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
