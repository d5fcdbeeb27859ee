"""The client of the webserver's GraphQL API.

Commands ask it in one of three ways: with a service token (DAGSTER_TOKEN or DAGSTER_TOKEN_FILE) at PUBLIC_URL, from any
machine; on the machine of the stack at the port that is published there; or, where that asks for a login, inside the
webserver's container, where whoever may start a process may do everything.
"""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from ops.command import CommandError, OpsError, first_line, run


class WebserverError(OpsError):
    """The message is one line."""


class LoginError(WebserverError):
    """The webserver wants to know who asks."""


@dataclass(frozen=True)
class Webserver:
    """A webserver that is reachable from this machine, such as at ``http://127.0.0.1:3000``."""

    url: str
    seconds: float = 20  # how long to wait for each answer
    token: str = ""
    key: str = ""  # shows who asks without the door

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Sends a query or a mutation and returns its ``data``.

        Raises WebserverError, also for a result that is a PythonError if the query requests ``__typename``.
        """
        status, text = self._send("/graphql", json.dumps({"query": query, "variables": variables}))
        answer = self._parsed(status, text)
        if errors := answer.get("errors"):
            raise WebserverError(f"the webserver answers with an error: {first_line(errors[0]['message'])}")
        if status >= 400 or answer.get("data") is None:
            raise WebserverError(f"the webserver answers HTTP {status}")
        data: dict[str, Any] = answer["data"]
        for result in data.values():
            kind = result.get("__typename") if isinstance(result, dict) else None
            if kind == "PythonError":
                raise WebserverError(f"the webserver answers with an error: {first_line(result.get('message'))}")
            if kind == "UnauthorizedError":
                raise LoginError(f"the webserver refuses: {first_line(result.get('message')) or 'the role is too low'}")
        return data

    def get(self, path: str) -> dict[str, Any]:
        """What the webserver answers at a path of its own, such as /whoami, which is JSON; raises WebserverError."""
        return self._parsed(*self._send(path, None))

    def _parsed(self, status: int, text: str) -> dict[str, Any]:
        try:
            answer = dict(json.loads(text))
        except ValueError:
            answer = None
        if status in (401, 403):
            errors = (answer or {}).get("errors") or [{"message": f"HTTP {status}"}]
            raise LoginError(f"the webserver refuses: {first_line(errors[0]['message'])}")
        if answer is None:
            raise WebserverError(f"the webserver answers HTTP {status}")
        return answer

    def _send(self, path: str, body: str | None) -> tuple[int, str]:
        try:
            with requests.Session() as session:
                # No proxy lies between this machine and its own port, and no password of another program is sent.
                session.trust_env = False
                session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
                headers = {"Content-Type": "application/json"} if body is not None else {}
                if self.token:
                    headers["Authorization"] = f"Bearer {self.token}"
                if self.key:
                    headers["X-Door-Key"] = self.key
                method = "GET" if body is None else "POST"
                url = f"{self.url.rstrip('/')}{path}"
                answer = session.request(
                    method, url, data=body, headers=headers, timeout=self.seconds, allow_redirects=False
                )
                return answer.status_code, answer.text
        except requests.Timeout:
            raise WebserverError(f"the webserver does not answer in {self.seconds:.0f} s") from None
        except requests.RequestException as error:
            raise WebserverError(f"the webserver does not answer ({_root_cause(error)})") from None


# In the container is the key that shows a request to be the door's, or the operator's.
SEND = """
import os, pathlib, sys, urllib.error, urllib.request
url, seconds, has_body = sys.argv[1:]
key = os.environ.get("DOOR_KEY_FILE")
headers = {"Content-Type": "application/json"} | ({"X-Door-Key": pathlib.Path(key).read_text().strip()} if key else {})
request = urllib.request.Request(url, sys.stdin.buffer.read() if has_body else None, headers)
try:
    answer = urllib.request.urlopen(request, timeout=float(seconds))
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
sys.stdout.write(answer.read().decode())
"""


@dataclass(frozen=True)
class WebserverInside(Webserver):
    """The stack's webserver, asked inside its container: it may be on another machine's engine, its port closed."""

    url: str = "http://127.0.0.1:3000"
    seconds: float = 60
    command: tuple[str, ...] = ("docker", "compose", "exec", "-T", "webserver")  # starts a command in the container
    see: str = "docker compose ps webserver"  # shows the state of the container

    def _send(self, path: str, body: str | None) -> tuple[int, str]:
        ask = (*self.command, "python", "-c", SEND)
        given = (f"{self.url}{path}", str(self.seconds), "" if body is None else "1")
        try:
            status, _, text = run(*ask, *given, stdin=body or "").partition("\n")
        except CommandError as error:
            raise WebserverError(f"the webserver does not answer; see `{self.see}`. {error}") from None
        return int(status), text


def webserver(published: str | None = None, inside: Webserver | None = None) -> Webserver:
    """The stack's webserver.

    ``published`` is its URL on this machine, which is asked where it wants no login; ``inside`` is how it is asked in
    its container, by default that of compose.
    """
    path = os.environ.get("DAGSTER_TOKEN_FILE")
    token = Path(path).read_text().strip() if path else os.environ.get("DAGSTER_TOKEN", "")
    if token:
        url = os.environ.get("PUBLIC_URL") or published
        if not url:
            raise WebserverError("DAGSTER_TOKEN is set, and PUBLIC_URL is not. Set it to the address of the door.")
        return Webserver(url, token=token)
    if published:
        open_door = Webserver(published)
        with contextlib.suppress(LoginError):
            open_door.ask("{ __typename }")
            return open_door
    return inside or WebserverInside()


def _root_cause(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
