"""Delivers notifications of failed runs to a webhook."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from platform_location.run_failure import RunFailure


class DeliveryError(RuntimeError):
    """A notification was not delivered; ``unreachable`` if there was no answer, so the next one would fail, too."""

    def __init__(self, message: str, *, unreachable: bool) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class JsonWebhook:
    """Posts each notification as a JSON object; a status of 200 to 299 is delivery. Redirects are not followed."""

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        self._url = url
        self._timeout = timeout
        # The rest of the URL is often a secret, and a tick's error is shown in the UI. So errors cite neither the
        # receiver's answer nor Python's message about the request, which may repeat the URL.
        parts = urlsplit(url)
        self.receiver = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._opener = urllib.request.build_opener(_NoRedirect)

    def notify(self, failure: RunFailure) -> None:
        """Delivers one notification, or raises DeliveryError, and the caller tries again."""
        body = json.dumps(failure.message()).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"}, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout):
                pass
        except urllib.error.HTTPError as error:
            words = http.client.responses.get(error.code, "")
            raise DeliveryError(f"{self.receiver} answers {error.code} {words}".rstrip(), unreachable=False) from None
        except OSError as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            cause = reason if isinstance(reason, OSError) else type(reason).__name__
            raise DeliveryError(f"{self.receiver} does not answer ({cause})", unreachable=True) from None
        # HTTPException: the answer is not HTTP; ValueError: the URL cannot be sent.
        except (http.client.HTTPException, ValueError) as error:
            raise DeliveryError(f"{self.receiver} does not answer ({type(error).__name__})", unreachable=True) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body."""

    def redirect_request(self, *_: Any) -> None:
        return None
