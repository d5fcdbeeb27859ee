"""The TLC's site, or a copy of it: where each file is, and how it is fetched."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from datetime import date
from functools import cache

import dagster as dg
import requests

from ingestion_location.download import Known, Limits, SourceFile, fetch
from ingestion_location.progress import Say
from ingestion_location.published import LOOK_SECONDS, Published, look
from ingestion_location.settings import read_source

# A month that the TLC has published for every taxi type, years ago.
PUBLISHED_MONTH = date(2023, 1, 1)


class TlcSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The TLC's site, or a copy of it with the same paths.

    Attributes:
        base_url: root of the site, without a trailing slash.
        taxi_type: ``yellow`` or ``green``.
        connect_seconds, read_seconds, total_seconds, attempts, longest_wait_seconds: as in ``download.Limits``.
    """

    base_url: str
    taxi_type: str
    connect_seconds: float = Limits.connect_seconds
    read_seconds: float = Limits.read_seconds
    total_seconds: float = Limits.total_seconds
    attempts: int = Limits.attempts
    longest_wait_seconds: float = Limits.longest_wait_seconds

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

    @property
    def zone_shapes_url(self) -> str:
        """URL of the zipped shapefile of the zones."""
        return f"{self.base_url}/misc/taxi_zones.zip"

    def fetch(self, url: str, say: Say, known: Known | None = None) -> AbstractContextManager[SourceFile]:
        """Opens a file of the site for the time of a ``with``; see ``download.fetch`` for the arguments and errors."""
        limits = Limits(**{limit.name: getattr(self, limit.name) for limit in fields(Limits)})
        timeout = (self.connect_seconds, self.read_seconds)
        return fetch(url, limits, say, forbidden=lambda: self._why_forbidden(url, timeout), known=known)

    @contextlib.contextmanager
    def looking(self) -> Iterator[Callable[[str], Published | None]]:
        """Yields a function that says what the source has at a URL, without fetching it, for the time of a ``with``.

        It returns and raises what ``published.look`` does.
        """

        # Asked once, however many files are forbidden.
        @cache
        def forbidden() -> str | None:
            return self._why_forbidden("", (LOOK_SECONDS, LOOK_SECONDS))

        with requests.Session() as session:
            yield lambda url: look(url, session, forbidden)

    def _why_forbidden(self, url: str, timeout: tuple[float, float]) -> str | None:
        """Tells a file that is not there from a source that refuses everything for now (None).

        The TLC's site answers 403 to both. A month known to exist shows which one it is.
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
