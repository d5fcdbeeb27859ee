"""The client of the webserver's GraphQL API."""

import json
from dataclasses import dataclass
from typing import Any

import requests

from ops.command import CommandError, first_line, run
from ops.errors import OpsError

# After a restart of Postgres the webserver answers with an error once for each connection that it kept open.
ATTEMPTS = 6


class WebserverError(OpsError):
    """The webserver does not answer, or answers with an error; the message is one line."""


class _AnswerError(WebserverError):
    """The webserver answers with an error, which the next attempt may not get."""


@dataclass(frozen=True)
class Webserver:
    """A webserver that is reachable from this machine.

    Args:
        url: where it listens, such as ``http://127.0.0.1:3000``.
        seconds: how long to wait for each answer.
    """

    url: str
    seconds: float = 20

    def ask(self, query: str, *, repeat: bool | None = None, **variables: Any) -> dict[str, Any]:
        """Sends a query or a mutation and returns its ``data``.

        Args:
            query: the document. Request ``__typename`` and ``message`` of a result that may be a PythonError.
            repeat: whether to send it again where the answer is an error. By default queries are, mutations are not.
            variables: the document's variables.

        Raises:
            WebserverError: the webserver does not answer, answers with an error, or a result is a PythonError.
        """
        if repeat is None:
            repeat = not query.lstrip().startswith("mutation")
        for _ in range(ATTEMPTS - 1 if repeat else 0):
            try:
                return self._ask_once(query, variables)
            except _AnswerError:
                continue
        return self._ask_once(query, variables)

    def _ask_once(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        status, text = self._post(json.dumps({"query": query, "variables": variables}))
        try:
            answer = json.loads(text)
        except ValueError:
            raise _AnswerError(f"the webserver answers HTTP {status}") from None
        if errors := answer.get("errors"):
            raise _AnswerError(f"the webserver answers with an error: {first_line(errors[0]['message'])}")
        if status >= 400 or answer.get("data") is None:
            raise _AnswerError(f"the webserver answers HTTP {status}")
        data: dict[str, Any] = answer["data"]
        for result in data.values():
            if isinstance(result, dict) and result.get("__typename") == "PythonError":
                raise _AnswerError(f"the webserver answers with an error: {first_line(result.get('message'))}")
        return data

    def _post(self, body: str) -> tuple[int, str]:
        """Posts a body to the API and returns the HTTP status and the text of the answer."""
        try:
            with requests.Session() as session:
                session.trust_env = False  # no proxy lies between this machine and its own port
                headers = {"Content-Type": "application/json"}
                answer = session.post(f"{self.url}/graphql", body, headers=headers, timeout=self.seconds)
                return answer.status_code, answer.text
        except requests.Timeout:
            raise WebserverError(f"the webserver does not answer in {self.seconds:.0f} s") from None
        except requests.RequestException as error:
            raise WebserverError(f"the webserver does not answer ({_root_cause(error)})") from None


POST = """
import sys, urllib.error, urllib.request
headers = {"Content-Type": "application/json"}
request = urllib.request.Request(f"{sys.argv[1]}/graphql", sys.stdin.buffer.read(), headers)
try:
    answer = urllib.request.urlopen(request, timeout=float(sys.argv[2]))
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
sys.stdout.write(answer.read().decode())
"""


class WebserverInside(Webserver):
    """The stack's webserver, asked inside its container: it may be on another machine's engine, its port closed."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:3000", seconds=60)

    def _post(self, body: str) -> tuple[int, str]:
        ask = ("docker", "compose", "exec", "-T", "webserver", "python", "-c", POST, self.url, str(self.seconds))
        try:
            status, _, text = run(*ask, stdin=body).partition("\n")
        except CommandError as error:
            raise WebserverError(f"the webserver does not answer; see `docker compose ps webserver`. {error}") from None
        return int(status), text


def _root_cause(error: BaseException) -> BaseException:
    """What the operating system said, without the layers of requests and urllib3 around it."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
