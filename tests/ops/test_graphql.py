"""The GraphQL client against a server that gives prepared answers."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ops.graphql import SEND, LoginError, Webserver, WebserverError, WebserverInside, webserver

ERROR: tuple[int, Any] = (200, {"errors": [{"message": "\nserver closed the connection\n  Stack Trace:"}]})
PYTHON_ERROR: tuple[int, Any] = (200, {"data": {"runs": {"__typename": "PythonError", "message": "no such table"}}})
GOOD: tuple[int, Any] = (200, {"data": {"version": "1"}})
# The headers of each request.
HEADERS: list[dict[str, str]] = []


@contextmanager
def server(*answers: tuple[int, Any]) -> Iterator[tuple[str, list[Any]]]:
    """A server that gives these answers in turn, the last one for ever; yields its URL and what it was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            HEADERS.append({name.lower(): value for name, value in self.headers.items()})
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode() if isinstance(body, str) else json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}", asked
        finally:
            httpd.shutdown()
            thread.join()


def test_variables_are_sent_with_the_query_and_the_data_comes_back() -> None:
    with server(GOOD) as (url, asked):
        assert Webserver(url).ask("query ($n: Int) { version }", n=3) == {"version": "1"}
    assert asked == [{"query": "query ($n: Int) { version }", "variables": {"n": 3}}]


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ERROR, "the webserver answers with an error: server closed the connection"),
        (PYTHON_ERROR, "the webserver answers with an error: no such table"),
        ((500, "Internal Server Error"), "the webserver answers HTTP 500"),
    ],
)
def test_an_error_is_raised_as_one_line(failure: tuple[int, Any], message: str) -> None:
    with server(failure) as (url, asked), pytest.raises(WebserverError) as raised:
        Webserver(url).ask("query { version }")
    assert (str(raised.value), len(asked)) == (message, 1)


def test_a_webserver_that_is_not_there_is_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(WebserverError, match=r"the webserver does not answer \(\[Errno 111\] Connection refused\)"):
        Webserver(f"http://127.0.0.1:{port}").ask("query { version }")


def test_a_webserver_that_hangs_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(WebserverError, match=r"the webserver does not answer in 0 s"):
            Webserver(url, seconds=0.2).ask("query { version }")


@pytest.mark.parametrize("answer", [GOOD, (500, {"errors": [{"message": "no such field"}]}), (502, "Bad Gateway")])
def test_the_program_that_asks_inside_the_container_prints_status_and_answer(answer: tuple[int, Any]) -> None:
    with server(answer) as (url, asked):
        command = [sys.executable, "-c", SEND, url, "20", "1"]
        ended = subprocess.run(command, input='{"query": "query { version }"}', capture_output=True, text=True)
    status, _, text = ended.stdout.partition("\n")
    assert (int(status), text) == (answer[0], answer[1] if isinstance(answer[1], str) else json.dumps(answer[1]))
    assert asked == [{"query": "query { version }"}]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("DAGSTER_TOKEN", "DAGSTER_TOKEN_FILE", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    HEADERS.clear()
    return monkeypatch


def test_a_token_is_sent_to_the_public_url(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of a file\n")
    with server(GOOD) as (url, _):
        settings.setenv("PUBLIC_URL", f"{url}/")
        settings.setenv("DAGSTER_TOKEN", "of the environment")
        webserver("http://127.0.0.1:1").ask("query { version }")
        settings.setenv("DAGSTER_TOKEN_FILE", str(tmp_path / "token"))
        webserver().ask("query { version }")
    assert [each["authorization"] for each in HEADERS] == ["Bearer of the environment", "Bearer of a file"]


def test_a_token_without_an_address_is_an_error_that_names_the_setting(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("DAGSTER_TOKEN", "a")
    with pytest.raises(WebserverError, match="PUBLIC_URL is not"):
        webserver()


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_refused_is_told_so_at_once(status: int) -> None:
    with server((status, {"errors": [{"message": "Log in"}]})) as (url, asked):
        with pytest.raises(LoginError, match="the webserver refuses: Log in"):
            Webserver(url).ask("query { version }")
        assert len(asked) == 1


def test_a_role_that_is_too_low_is_an_error() -> None:
    refused = {"data": {"reloadWorkspace": {"__typename": "UnauthorizedError", "message": "Refused: it takes a role"}}}
    with server((200, refused)) as (url, _), pytest.raises(LoginError, match="Refused: it takes a role"):
        Webserver(url).ask("mutation { reloadWorkspace { __typename } }")


def test_a_door_that_asks_for_a_login_is_passed_by_inside_the_container(settings: pytest.MonkeyPatch) -> None:
    with server((401, {"errors": [{"message": "Log in"}]})) as (url, _):
        assert isinstance(webserver(url), WebserverInside)
    with server(GOOD) as (url, _):
        assert webserver(url) == Webserver(url)
