"""A door of its own, in front of a server in the webserver's place that answers with what it was sent."""

import contextlib
import http.client
import json
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.stack.conftest import PROJECT
from tests.stack.webserver import wait_for

# Answers each request, and those to the pages of a location, with the path and the headers that it got, as JSON.
ECHO = """
import http.server, json, threading
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "session=stolen")
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *arguments): pass
for port in (3000, 8081):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Echo)
    threading.Thread(target=server.serve_forever).start()
"""
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    def got(self) -> dict[str, str]:
        """What the server behind the door was sent: the headers in small letters, and `path`."""
        found: dict[str, str] = json.loads(self.text)
        return found


class Door:
    """A door that listens on two ports of this machine, of which one speaks TLS if the door does."""

    def __init__(self, name: str, tls: bool = False) -> None:
        self.name, self.tls = name, tls
        self.port, self.tls_port = (self._port(port) for port in (8080, 8443))

    def _port(self, inside: int) -> int:
        shown = subprocess.run(
            ["docker", "port", f"{self.name}-behind", str(inside)], capture_output=True, text=True, check=True
        )
        return int(shown.stdout.splitlines()[0].rpartition(":")[2])

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        """Sends a request as it is given."""
        connection: http.client.HTTPConnection
        if self.tls:
            any_certificate = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", self.tls_port, timeout=180, context=any_certificate)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=180)
        with contextlib.closing(connection):
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())

    def graphql(self, **headers: str) -> Answer:
        return self.ask("POST", "/graphql", "{}", **JSON, **headers)

    def log_in(self, user: str, password: str, **headers: str) -> Answer:
        """Sends the form of the login page."""
        fields = f"httpd_username={user}&httpd_password={password}&httpd_location=/runs"
        return self.ask("POST", "/door/login", fields, **FORM, **headers)

    def logs(self) -> str:
        shown = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, check=True)
        return shown.stdout + shown.stderr


def cookie(answer: Answer) -> str:
    """The cookie that an answer sets, as a browser sends it back; empty if there is none."""
    return str(answer.headers["Set-Cookie"] or "").partition(";")[0]


def start(name: str, access: Path, settings: dict[str, str]) -> list[str]:
    """The command that starts a door with the confinement of its service."""
    confined = ["--cap-drop=ALL", "--security-opt=no-new-privileges:true", "--read-only", "--tmpfs=/tmp"]
    options = [f"--env={key}={value}" for key, value in settings.items()]
    return ["docker", "run", f"--name={name}", *confined, f"--volume={access}:/run/access:ro", *options]


@contextlib.contextmanager
def door(name: str, access: Path, **settings: str) -> Iterator[Door]:
    """A door with settings and the files of a folder, until the block ends."""
    name = f"{PROJECT}-{name}"
    behind = ["docker", "run", "--detach", f"--name={name}-behind", "--publish=127.0.0.1::8080"]
    behind += ["--publish=127.0.0.1::8443", "--add-host=webserver:127.0.0.1", "--add-host=dbt_location:127.0.0.1"]
    try:
        subprocess.run([*behind, f"platform:{PROJECT}", "python", "-c", ECHO], check=True, capture_output=True)
        command = [*start(name, access, settings), "--detach", f"--network=container:{name}-behind", f"door:{PROJECT}"]
        subprocess.run(command, check=True, capture_output=True)
        wait_for("the door", 60, lambda: _is_open(Door(name)))
        yield Door(name, "TLS_KEY_FILE" in settings)
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name, f"{name}-behind"], capture_output=True)


def refusal(name: str, access: Path, **settings: str) -> tuple[int, str]:
    """The exit status of a door that does not open, and what it says."""
    command = [*start(f"{PROJECT}-{name}", access, settings), "--rm", "--network=none", f"door:{PROJECT}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180)
    return ended.returncode, ended.stderr


def users(**passwords: str) -> str:
    """A file of users, with hashes of little cost."""
    lines = [
        subprocess.run(
            ["docker", "run", "--rm", "--network=none", f"door:{PROJECT}", "htpasswd", "-nbB", "-C", "4", name, word],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for name, word in passwords.items()
    ]
    return "\n".join(lines) + "\n"


def _is_open(opened: Door) -> bool | None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        if opened.ask("GET", "/door/health").status == 200:
            return True
    return None
