"""What the source answers when it does not give a file, and whether another attempt may succeed."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator

import requests
import urllib3
from urllib3.util.retry import Retry

from ingestion_location.load_errors import LoadError
from ingestion_location.web import ForbiddenRedirect

# HTTP status codes of a server that is busy or broken for now.
BUSY = (408, 425, 429, 500, 502, 503, 504)


class SourceError(LoadError):
    """A file could not be fetched, or not be kept while it is loaded; the message names its URL and the next step."""

    transient = True


class FileUnavailable(SourceError):  # noqa: N818, it names the state
    """The source does not have the file."""

    transient = False


class SourceRefused(SourceError):  # noqa: N818
    """The source gives an answer that another attempt does not change."""

    transient = False


class SourceBusy(SourceError):  # noqa: N818
    """The source throttles, is broken or cannot be reached for now; ``retry_after`` is the wait that it asks for."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def check_status(url: str, response: requests.Response, forbidden: Callable[[], str | None]) -> None:
    """Raises the SourceError of a response other than 200 and 206.

    Args:
        forbidden: called for a 403; returns why the file is not there, or None if every file is refused for now.
    """
    status = response.status_code
    if status in (200, 206):
        return
    if status in (404, 410):
        raise FileUnavailable(
            f"{url}: the source does not have this file (HTTP {status}). The TLC publishes a month about two months "
            "late: choose a published month, or check TLC_BASE_URL and TLC_TAXI_TYPE."
        )
    if status == 403:
        reason = forbidden()
        if reason is not None:
            raise FileUnavailable(f"{url}: {reason}")
        raise SourceBusy(f"{url}: the source refuses every file for now (HTTP 403), as it does when throttling")
    if status in BUSY:
        seconds = _parse_retry_after(response.headers.get("Retry-After"))
        wait = f" and asks for a wait of {seconds:,.0f} s" if seconds else ""
        raise SourceBusy(f"{url}: the source answered HTTP {status}{wait}", seconds)
    raise SourceRefused(f"{url}: the source answered HTTP {status}. Check TLC_BASE_URL, then launch the run again.")


@contextlib.contextmanager
def explained_errors(url: str) -> Iterator[None]:
    """Turns errors of the connection during a ``with`` into SourceRefused or SourceBusy."""
    try:
        yield
    except ForbiddenRedirect as error:
        raise SourceRefused(
            f"{url}: the source redirects {error}. This redirect is not followed. Check TLC_BASE_URL; if the redirect "
            "is right, set it to the address that the redirect leads to."
        ) from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
        # Without the error's text, which has the whole URL.
        raise SourceRefused(
            f"{url}: this, where the source redirects to, or the proxy of HTTP_PROXY or HTTPS_PROXY is not a URL that "
            "can be used. Check TLC_BASE_URL and the proxy."
        ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise SourceBusy(f"{url}: the source cannot be reached or broke off ({_reason(error)})") from error


@contextlib.contextmanager
def explained_disk_errors(what: str) -> Iterator[None]:
    """Turns an OSError of a temporary file into a SourceError; ``what`` names the data that it keeps."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{what} cannot be kept in {tempfile.gettempdir()} ({error}). Make room there, or set TMPDIR to another "
            "folder, then launch the run again."
        ) from error


def _parse_retry_after(header: str | None) -> float | None:
    if header:
        with contextlib.suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
            return Retry().parse_retry_after(header)
    return None


def _reason(error: Exception) -> str:
    """The innermost reason of an error, without the names of Python objects."""
    inner = getattr(error.args[0], "reason", error) if error.args else error
    text = str(inner)
    return text.split("object at 0x")[-1].partition(": ")[2] or text
