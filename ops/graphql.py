"""The client of the webserver's GraphQL API."""

import json
from dataclasses import dataclass
from typing import Any

import requests

from ops.command import CommandError, OpsError, first_line, run


class WebserverError(OpsError):
    """The message is one line."""


@dataclass(frozen=True)
class Webserver:
    """A webserver that is reachable from this machine, such as at ``http://127.0.0.1:3000``."""

    url: str
    seconds: float = 20  # how long to wait for each answer

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Sends a query or a mutation and returns its ``data``.

        Raises WebserverError, also for a result that is a PythonError if the query requests ``__typename``.
        """
        status, text = self._post(json.dumps({"query": query, "variables": variables}))
        try:
            answer = json.loads(text)
        except ValueError:
            raise WebserverError(f"the webserver answers HTTP {status}") from None
        if errors := answer.get("errors"):
            raise WebserverError(f"the webserver answers with an error: {first_line(errors[0]['message'])}")
        if status >= 400 or answer.get("data") is None:
            raise WebserverError(f"the webserver answers HTTP {status}")
        data: dict[str, Any] = answer["data"]
        for result in data.values():
            if isinstance(result, dict) and result.get("__typename") == "PythonError":
                raise WebserverError(f"the webserver answers with an error: {first_line(result.get('message'))}")
        return data

    def _post(self, body: str) -> tuple[int, str]:
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
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
