"""Who a request is from, by where it comes from and what it brings."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from platform_host.access_file import token_hash
from platform_host.door import AccessSource, Door, read_key
from starlette.types import Message, Receive, Scope, Send

KEY = "the key of the door"
ALERTS_KEY = "the key of the alerts"
DOOR = "172.18.0.9"


@pytest.fixture
def access(tmp_path: Path) -> AccessSource:
    path = tmp_path / "access.yaml"
    path.write_text(
        f"users:\n  ana: {{viewer: all}}\ntokens:\n  ci: {{viewer: all, sha256: {token_hash('a token')}}}\n"
    )
    return AccessSource(path, list)


def ask(access: AccessSource, client: str, key: str = KEY, path: str = "/", **headers: str) -> tuple[int, Any]:
    """Sends a request from an address; returns the status, and the name and address that the webserver learns."""
    found: list[Any] = []
    sent: list[Message] = []

    async def webserver(scope: Scope, receive: Receive, send: Send) -> None:
        found.append((scope["caller"].identity.name, scope["caller"].address))

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": path, "headers": raw, "client": (client, 1)}
    asyncio.run(Door(webserver, access, key, ALERTS_KEY)(scope, receive, send))
    return (200, found[0]) if found else (sent[0]["status"], None)


@pytest.mark.parametrize(
    ("client", "path", "headers", "expected"),
    [
        (
            DOOR,
            "/",
            {"x_door_key": KEY, "x_forwarded_user": "ana", "x_forwarded_for": "192.0.2.1"},
            ("ana", "192.0.2.1"),
        ),
        (DOOR, "/", {"x_door_key": KEY, "authorization": "Bearer a token"}, ("token:ci", DOOR)),
        ("127.0.0.1", "/", {"x_door_key": KEY}, ("(operator)", "127.0.0.1")),
        # Whatever else the alerts send, they are the alerts.
        (
            "172.18.0.10",
            "/",
            {"x_door_key": ALERTS_KEY, "x_forwarded_user": "ana", "authorization": "Bearer a token"},
            ("(alerts)", "172.18.0.10"),
        ),
        (DOOR, "/", {"x_door_key": KEY, "x_door_login": "none"}, 401),
        ("127.0.0.1", "/server_info", {}, ("", "127.0.0.1")),
        (DOOR, "/", {"x_door_key": KEY}, 401),
        (DOOR, "/", {"x_door_key": KEY, "authorization": "Bearer another"}, 401),
        (DOOR, "/", {"x_door_key": KEY, "x_forwarded_user": "eve"}, 403),
        (DOOR, "/", {"x_door_key": "another", "x_forwarded_user": "ana"}, 403),
        (DOOR, "/", {"x_forwarded_user": "ana"}, 403),
        (DOOR, "/", {"authorization": "Bearer a token"}, 403),
        (DOOR, "/server_info", {}, 403),
        ("127.0.0.1", "/", {}, 403),
    ],
)
def test_a_request_is_of_whom_the_door_says_or_refused(
    client: str, path: str, headers: dict[str, str], expected: Any, access: AccessSource
) -> None:
    answer = (expected, None) if isinstance(expected, int) else (200, expected)
    assert ask(access, client, path=path, **headers) == answer


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_without_a_key_the_webserver_does_not_start(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    monkeypatch.delenv("DOOR_KEY_FILE", raising=False)
    if content is not None:
        path.write_text(content)
        monkeypatch.setenv("DOOR_KEY_FILE", str(path))
    with pytest.raises(RuntimeError, match="DOOR_KEY_FILE names no file"):
        read_key()


def test_without_the_file_everybody_comes_in_where_the_door_says_that_it_has_no_login(tmp_path: Path) -> None:
    none = AccessSource(tmp_path / "none", list)
    assert ask(none, DOOR, x_door_key=KEY, x_door_login="none") == (200, ("", DOOR))
    assert ask(none, DOOR, x_door_key=KEY, x_door_login="none", authorization="Bearer a token") == (401, None)
    assert ask(none, DOOR, x_door_key=KEY, x_door_login="required") == (401, None)
    # A door that says nothing names nobody, either.
    assert ask(none, DOOR, x_door_key=KEY) == (401, None)


def test_without_the_file_somebody_who_logged_in_has_no_role(tmp_path: Path) -> None:
    nobody = AccessSource(tmp_path / "access.yaml", list)
    assert ask(nobody, DOOR, x_door_key=KEY, x_forwarded_user="ana") == (403, None)
