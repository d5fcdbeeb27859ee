"""Asking the source which version of a file it has, without fetching it."""

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

from ingestion_location.download import FileVersion
from ingestion_location.source_errors import FileUnavailable, check_status, explained_errors

# Timeout of one request. It is short because a tick of a sensor makes several.
LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Published:
    """A file that the source has: its attributes are those of FileVersion, as far as the server tells them."""

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


def look(url: str, session: requests.Session, forbidden: Callable[[], str | None]) -> Published | None:
    """Asks the source about a file; None if it does not have it.

    Args:
        url: http, https or file URL.
        session: keeps the connection for the next call.
        forbidden: called when the server answers 403; returns why the file is not there, or None if the server refuses
            every file for now.

    Raises:
        SourceBusy: the source throttles or cannot be reached.
        SourceRefused: the source gives an answer that waiting does not change.
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
        with explained_errors(url):
            response = session.head(url, timeout=LOOK_SECONDS, allow_redirects=True, headers=headers)
        check_status(url, response, forbidden)
    except FileUnavailable:
        return None
    length = response.headers.get("Content-Length", "")
    return Published(
        url,
        response.headers.get("ETag"),
        response.headers.get("Last-Modified"),
        int(length) if length.isdecimal() else None,
    )
