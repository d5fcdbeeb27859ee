"""What the source says about a file, without sending it."""

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import requests

from ingestion_location.download import TRANSIENT, Known, SourceError, SourceRefused, reason, retry_after

# A look that takes longer counts as a source that cannot be reached: a tick looks at several files.
LOOK_SECONDS = 5.0


class SourceBusy(SourceError):  # noqa: N818, it says what is the case
    """The source throttles, is broken or cannot be reached for the moment.

    Attributes:
        retry_after: seconds that the source asks to be left alone for, or None.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """Takes the message, and the source's wish."""
        super().__init__(message)
        self.retry_after = retry_after


class KnownFile(Known, Protocol):
    """A file that was loaded, as a ledger has it."""

    @property
    def url(self) -> str:
        """Where it came from."""

    @property
    def bytes(self) -> int:
        """Its size."""


@dataclass(frozen=True)
class Published:
    """A file that the source has.

    Attributes:
        url: where it is.
        etag: the server's ETag, or None.
        last_modified: the server's Last-Modified (of a file URL, the file's own time), or None.
        bytes: its size, or None where the server does not say.
    """

    url: str
    etag: str | None
    last_modified: str | None
    bytes: int | None

    @property
    def version(self) -> str:
        """Names this content of this URL, as far as the source tells one from another."""
        return f"{self.url} {self.etag or f'{self.last_modified} {self.bytes}'}"

    def is_content_of(self, known: KnownFile) -> bool:
        """Whether a loaded file came from here and the source has no other one since.

        Only what both sides know is compared, the ETag before the rest. A weak ETag is as good as a strong one here.
        """
        if self.url != known.url:
            return False
        if self.etag and known.etag:
            return self.etag.removeprefix("W/") == known.etag.removeprefix("W/")
        if self.last_modified and known.last_modified and self.last_modified != known.last_modified:
            return False
        return self.bytes is None or self.bytes == known.bytes


def look(url: str, session: requests.Session, forbidden: Callable[[], str | None]) -> Published | None:
    """Asks the source about a file; None where it does not have it.

    Args:
        url: http, https or file URL.
        session: keeps the connection for the next look.
        forbidden: called when the server answers 403; returns why the file is not there, or None where the server
            only refuses for now.

    Raises:
        SourceBusy: the source throttles or cannot be reached.
        SourceRefused: the source answers in a way that waiting does not change.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if not path.is_file():
            return None
        status = path.stat()
        return Published(url, None, formatdate(status.st_mtime, usegmt=True), status.st_size)
    try:
        # identity: a server that packs answers may give the packed file another ETag.
        response = session.head(
            url, timeout=LOOK_SECONDS, allow_redirects=True, headers={"Accept-Encoding": "identity"}
        )
    except (requests.TooManyRedirects, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise SourceRefused(
            f"{url}: the source redirects without an end or to no address ({error}). Check TLC_BASE_URL."
        ) from error
    except requests.RequestException as error:
        raise SourceBusy(f"{url}: the source cannot be reached ({reason(error)})") from error
    code = response.status_code
    if code == 200:
        length = response.headers.get("Content-Length", "")
        return Published(
            url,
            response.headers.get("ETag"),
            response.headers.get("Last-Modified"),
            int(length) if length.isdecimal() else None,
        )
    if code in (404, 410) or (code == 403 and forbidden() is not None):
        return None
    if code == 403:
        raise SourceBusy(f"{url}: the source refuses every file for now (HTTP 403), as it does when throttling")
    if code in TRANSIENT:
        raise SourceBusy(f"{url}: the source answered HTTP {code}", retry_after(response.headers.get("Retry-After")))
    raise SourceRefused(
        f"{url}: the source answered HTTP {code} to the question whether it has this file. Check TLC_BASE_URL."
    )
