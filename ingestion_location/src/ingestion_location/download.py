"""Downloading one file from a web server or a folder, as a whole or not at all."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

import dagster as dg
import requests
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from ingestion_location.bounds import MB, Bounds
from ingestion_location.load_errors import check_bound
from ingestion_location.progress import Log, Progress
from ingestion_location.source_errors import (
    FileUnavailable,
    SourceBusy,
    SourceError,
    check_status,
    explained_disk_errors,
    explained_errors,
)
from ingestion_location.web import SourceSession, size_of, version_of

CHUNK_BYTES = 1 << 20
# Headers of a request for a file that is wanted only if it is another one than before.
CONDITIONS = {"If-None-Match", "If-Modified-Since"}


class Unchanged(Exception):  # noqa: N818, not an error
    """The source still has the known version of the file."""


@dataclass(frozen=True, kw_only=True)
class FileVersion:
    """One version of a file at the source; ``etag`` and ``last_modified`` are the server's, if it sends them."""

    url: str
    etag: str | None
    last_modified: str | None
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FetchedFile(FileVersion):
    """A fetched file, open for reading. A download has no name on disk, so a killed run leaves nothing behind."""

    file: IO[bytes]


class Limits(dg.Config):
    """How long and how often a download is tried.

    Attributes:
        total_seconds: timeout of all attempts together.
        attempts: attempts in a row that bring no new bytes.
        longest_wait_seconds: between two attempts. If the server asks for a longer wait, the download fails.
    """

    connect_seconds: float = 10
    read_seconds: float = 60
    total_seconds: float = 1800
    attempts: int = 5
    longest_wait_seconds: float = 120


@contextlib.contextmanager
def fetch(
    url: str,
    limits: Limits,
    log: Log,
    *,
    forbidden: Callable[[], str | None],
    known: FileVersion | None = None,
    bound: str = "tlc_max_file_mb",
) -> Iterator[FetchedFile]:
    """Yields the whole content of an http, https or file URL.

    Args:
        forbidden: called when the server answers 403; returns why the file is not there, or None if the server refuses
            every file for now.
        known: version that was fetched before.
        bound: setting that bounds the size of the file.

    Raises:
        Unchanged: the source still has the known version.
        FileUnavailable: the source does not have the file.
        OutOfBounds: the file is larger than a setting allows.
        SourceError: the source cannot be reached, refuses, or sent only a part of the file.
    """
    parts = urlsplit(url)
    with contextlib.ExitStack() as stack:
        if parts.scheme == "file":
            fetched = stack.enter_context(_opened(url, Path(unquote(parts.path)), bound))
        else:
            with explained_disk_errors(f"{url}:"):  # those of requests have become SourceError
                file = stack.enter_context(tempfile.TemporaryFile(prefix="tlc-"))
                fetched = _Download(url, file, limits, log, forbidden, bound).run(known)
        if known is not None and fetched.sha256 == known.sha256:
            raise Unchanged(url)
        yield fetched


@contextlib.contextmanager
def _opened(url: str, path: Path, bound: str) -> Iterator[FetchedFile]:
    if not path.is_file():
        raise FileUnavailable(f"{url}: there is no such file. Check TLC_BASE_URL, or choose a month that it has.")
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        check_bound(Bounds(), bound, status.st_size / MB, url)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        changed = formatdate(status.st_mtime, usegmt=True)
        yield FetchedFile(url=url, etag=None, last_modified=changed, bytes=status.st_size, sha256=sha256, file=file)


@dataclass
class _Download:
    """The download of one file, over as many connections as it takes."""

    url: str
    file: IO[bytes]
    limits: Limits
    log: Log
    forbidden: Callable[[], str | None]
    bound: str
    received: int = 0
    longest: int = 0
    fruitless: int = 0
    validator: str | None = None

    def __post_init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.bounds = Bounds()
        self.deadline = time.monotonic() + self.limits.total_seconds
        self.backoff = wait_exponential_jitter(multiplier=0.5, max=self.limits.longest_wait_seconds)

    def run(self, known: FileVersion | None) -> FetchedFile:
        busy = retry_if_exception_type(SourceBusy)
        retrying = Retrying(retry=busy, wait=self._wait, stop=self._stop, before_sleep=self._log_wait, reraise=True)
        with SourceSession() as session:
            try:
                return retrying(self._attempt, session, known)
            except SourceBusy as error:
                raise SourceError(
                    f"{error}. Gave up after {retrying.statistics['attempt_number']} attempts; nothing was "
                    "loaded. Check the network and TLC_BASE_URL, or launch the run again later."
                ) from error

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        retry_after = error.retry_after if isinstance(error, SourceBusy) else None
        return self.backoff(state) if retry_after is None else retry_after

    def _stop(self, state: RetryCallState) -> bool:
        if self.received > self.longest:
            self.longest, self.fruitless = self.received, 0
        else:
            self.fruitless += 1
        wait = state.upcoming_sleep
        return (
            self.fruitless >= self.limits.attempts
            or wait > self.limits.longest_wait_seconds
            or time.monotonic() + wait > self.deadline
        )

    def _log_wait(self, state: RetryCallState) -> None:
        assert state.outcome is not None
        assert state.next_action is not None
        self.log(f"{state.outcome.exception()}; trying again in {state.next_action.sleep:.1f} s")

    def _attempt(self, session: SourceSession, known: FileVersion | None) -> FetchedFile:
        timeout = (self.limits.connect_seconds, self.limits.read_seconds)
        with (
            explained_errors(self.url),
            session.ask("GET", self.url, timeout=timeout, headers=self._headers(known)) as response,
        ):
            self._check_status(response)
            total = self._start_body(response)
            self._check_size(total or 0)
            self._receive(response, total)
        if total is not None and self.received != total:
            raise SourceBusy(f"{self.url}: only {self.received:,} of {total:,} bytes arrived")
        self.file.seek(0)
        etag, last_modified, _ = version_of(response)
        return FetchedFile(
            url=self.url,
            etag=etag,
            last_modified=last_modified,
            bytes=self.received,
            sha256=self.sha256.hexdigest(),
            file=self.file,
        )

    def _headers(self, known: FileVersion | None) -> dict[str, str]:
        # identity: with another encoding the length could not be checked against the bytes that arrived.
        headers = {"Accept-Encoding": "identity"}
        if self.received and self.validator:
            # If-Range: if the file has changed, the server sends the new one from its start.
            headers |= {"Range": f"bytes={self.received}-", "If-Range": self.validator}
        elif known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        elif known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        return headers

    def _check_status(self, response: requests.Response) -> None:
        # A 304 that was not asked for says nothing about what was fetched before.
        if response.status_code == 304 and not CONDITIONS.isdisjoint(response.request.headers):
            raise Unchanged(self.url)
        if response.status_code == 416:
            self._restart()
            raise SourceBusy(f"{self.url}: the source cannot resume where the connection broke off (HTTP 416)")
        check_status(self.url, response, self.forbidden)

    def _start_body(self, response: requests.Response) -> int | None:
        """Returns the size of the whole file, and discards the bytes of another version of it."""
        etag, last_modified, length = version_of(response)
        if response.status_code == 206:
            sent = response.headers.get("Content-Range", "")
            unit, _, value = sent.partition(" ")
            span, _, whole = value.partition("/")
            if unit != "bytes" or not span.startswith(f"{self.received}-"):
                self._restart()
                raise SourceBusy(f"{self.url}: the source sent another part than the requested one ({sent})")
            total = size_of(whole)
        else:
            self._restart()
            total = length
        # A weak ETag does not promise the same bytes.
        self.validator = etag if etag and not etag.startswith("W/") else last_modified
        return total

    def _check_size(self, size: int) -> None:
        """Checks the limits for a file of this size; ``received`` bytes of it are already on the disk."""
        check_bound(self.bounds, self.bound, size / MB, self.url)
        room = shutil.disk_usage(tempfile.gettempdir()).free - (size - self.received)
        if room < self.bounds.tlc_min_free_mb * MB:
            raise OSError(
                errno.ENOSPC, f"less than TLC_MIN_FREE_MB={self.bounds.tlc_min_free_mb} would be left on the disk"
            )

    def _restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.sha256 = hashlib.sha256()
        self.received = 0

    def _receive(self, response: requests.Response, total: int | None) -> None:
        progress = Progress(self.log, "downloaded", "bytes", total)
        progress.add(self.received)
        # read1 returns the bytes that are there, so the deadline is checked however slowly they trickle in.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            # The announced size may be missing or wrong.
            self._check_size(self.received + len(chunk))
            self.file.write(chunk)
            self.sha256.update(chunk)
            self.received += len(chunk)
            progress.add(len(chunk))
            if time.monotonic() > self.deadline:
                of = f" of {total:,}" if total else ""
                raise SourceError(
                    f"{self.url}: too slow: {self.received:,}{of} bytes in {self.limits.total_seconds:,.0f} s. Nothing "
                    "was loaded; launch the run again later."
                )
