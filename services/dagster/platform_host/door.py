"""Who asks: every request to the webserver gets its caller here, or is refused.

A request comes from the front door, which has removed what a client said of itself, and says who logged in. It proves
that it is the door by a key that only the two have.
"""

import hmac
import logging
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_host.access_file import AccessError, AccessFile, Identity, Role, read_access

LOOPBACK = ("127.0.0.1", "::1")
# With neither access.yaml nor a login, whoever comes through the door may do everything. The door says whether it has a
# login: that it names nobody does not mean so.
EVERYBODY = Identity("", Role.ADMIN)
# Whoever may start a process in the webserver's container, as `docker compose exec` does, may do everything anyway. No
# user has such a name, nor that of a token.
OPERATOR = Identity("(operator)", Role.ADMIN)
NOBODY = Identity("", None)
# The service alerts asks without the door, by a key of its own.
ALERTS = Identity("(alerts)", Role.VIEWER)
_RETRY_SECONDS = 5


class AccessSource:
    """access.yaml as it is now. A change counts at the next request; one with an error counts when it is corrected."""

    def __init__(self, path: Path, locations: Callable[[], Collection[str]]) -> None:
        """Reads the file, if there is one; raises AccessError. ``locations`` gives the names that it may use."""
        self._path, self._locations = path, locations
        self._state = self._stat()
        self._failed: tuple[tuple[int, ...] | None, float] = (None, 0)
        self._access = read_access(path, locations()) if self._state else None

    def _stat(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def current(self) -> AccessFile | None:
        state = self._stat()
        # A file that is gone does not open the door: what it said stays until the next start.
        if state is None or state == self._state:
            return self._access
        failed, at = self._failed
        if state == failed and time.monotonic() < at + _RETRY_SECONDS:
            return self._access
        try:
            self._access = read_access(self._path, self._locations())
            self._state = state
        except (AccessError, OSError) as error:
            # Again later, when a location that it names may have come.
            self._failed = state, time.monotonic()
            logging.getLogger("dagster-webserver").error("The last valid access.yaml stays in effect.\n%s", error)
        return self._access


@dataclass(frozen=True)
class Caller:
    """Who asks, and from which address."""

    identity: Identity
    address: str


class Refused(Exception):  # noqa: N818, it is an answer
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Door:
    """An ASGI application in front of another, which gets the caller as ``scope["caller"]``."""

    def __init__(self, app: ASGIApp, access: AccessSource, key: str, alerts_key: str = "") -> None:
        self._app, self._access, self._key, self._alerts_key = app, access, key, alerts_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        try:
            scope["caller"] = self._caller(scope)
        except Refused as refused:
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1008, "reason": str(refused)})
            return await JSONResponse({"errors": [{"message": str(refused)}]}, refused.status)(scope, receive, send)
        await self._app(scope, receive, self._while_known(scope, send) if scope["type"] == "websocket" else send)

    def _while_known(self, scope: Scope, send: Send) -> Send:
        """Sends nothing more through a websocket, and closes it, when its caller may not come in any more."""
        closed = False

        async def send_while_known(message: Message) -> None:
            nonlocal closed
            if closed:
                return
            if message["type"] == "websocket.send":
                try:
                    self._caller(scope)
                except Refused:
                    closed = True
                    message = {"type": "websocket.close", "code": 1008, "reason": "You may not come in any more."}
            await send(message)

        return send_while_known

    def _caller(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        address = (scope.get("client") or ("",))[0]
        inside = address in LOOPBACK
        # The health check.
        if inside and scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == "/server_info":
            return Caller(NOBODY, address)
        given = headers.get("x-door-key", "").encode()
        if self._alerts_key and hmac.compare_digest(given, self._alerts_key.encode()):
            return Caller(ALERTS, address)
        if not hmac.compare_digest(given, self._key.encode()):
            raise Refused(403, "Come through the door: the webserver answers nobody else.")
        address = headers.get("x-forwarded-for", address).rpartition(",")[2].strip()
        return Caller(self._identity(headers, inside), address)

    def _identity(self, headers: Headers, inside: bool) -> Identity:
        access = self._access.current()
        kind, _, token = headers.get("authorization", "").partition(" ")
        user = headers.get("x-forwarded-user", "")
        if kind.lower() == "bearer":
            if identity := access and access.token(token.strip()):
                return identity
            raise Refused(401, "This token is unknown, or was removed. List the tokens with: make tokens")
        if not user:
            if inside:
                return OPERATOR
            if access is None and headers.get("x-door-login") == "none":
                return EVERYBODY
            raise Refused(401, "Log in, or send a service token: Authorization: Bearer …")
        if access is None:
            raise Refused(403, "The file access.yaml is missing, which gives roles. An operator writes it: make user")
        if user.startswith(("token:", "(")):
            raise Refused(
                403, f"{user} could be taken for a token or the operator. OIDC_USER_CLAIM names another claim."
            )
        # The door makes up what stands between the names of groups, so that no name can contain it.
        between, _, groups = headers.get("x-forwarded-groups", "").partition(" ")
        if identity := access.user(user, groups.split(between) if between else []):
            return identity
        raise Refused(403, f"{user} has no role here. An operator gives one with: make user NAME={user} ROLE=viewer")


def read_key(name: str = "DOOR_KEY_FILE") -> str:
    """The key in the file that a variable names: that of the door, or that of the alerts."""
    path = os.environ.get(name)
    key = Path(path).read_text().strip() if path else ""
    if not key:
        raise RuntimeError(
            f"{name} names no file with a key. Start the stack again, so that the service migrate writes it."
        )
    return key
