"""Telling someone of a failed run: what a notifier is, and the one there is, a webhook."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, Protocol
from urllib.parse import urlsplit

from platform_location.run_failure import RunFailure


class NotDelivered(RuntimeError):  # noqa: N818, it says what happened
    """A notification did not arrive; the message says why.

    Attributes:
        unreachable: nobody answered, so that the next one would not arrive either.
    """

    def __init__(self, message: str, *, unreachable: bool) -> None:
        """Takes the message, and whether nobody answered."""
        super().__init__(message)
        self.unreachable = unreachable


class Notifier(Protocol):
    """Whoever can be told of a failed run. Another way to tell, mail or a pager, is another class with this method."""

    def notify(self, failure: RunFailure) -> None:
        """Delivers one notification.

        Raises:
            NotDelivered: it did not arrive. It is tried again.
        """


class JsonWebhook:
    """Posts a notification as a JSON object; an answer of 200 to 299 is delivery. Redirects are not followed."""

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        """Takes the URL, and for how many seconds each step of a delivery may take."""
        self._url = url
        self._timeout = timeout
        # The rest of such a URL often is a secret, and a tick's error is in the UI.
        parts = urlsplit(url)
        self.receiver = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._opener = urllib.request.build_opener(_NoRedirect)

    def notify(self, failure: RunFailure) -> None:
        """Posts the notification.

        Raises:
            NotDelivered: the receiver does not answer, or refuses it.
        """
        body = json.dumps(failure.message()).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"}, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout):
                pass
        except urllib.error.HTTPError as error:
            raise NotDelivered(f"{self.receiver} answers {error.code} {error.reason}", unreachable=False) from None
        # HTTPException: an answer that is none; ValueError: a URL that cannot be sent.
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = getattr(error, "reason", error)
            raise NotDelivered(f"{self.receiver} does not answer ({said})", unreachable=True) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body."""

    def redirect_request(self, *_: Any) -> None:
        """Follows none."""
        return None
