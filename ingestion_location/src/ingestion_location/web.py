"""Requests to the source: to which addresses its redirects may lead, and who gets its user and password."""

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from ingestion_location.settings import read_settings
from ingestion_location.urls import without_secrets

MOST_REDIRECTS = 5
# Characters of a header that is kept; those of the TLC's site have 40.
MOST_CHARACTERS = 200


# Not an OSError, which urllib3 would take for a broken connection.
class ForbiddenRedirect(Exception):  # noqa: N818, it names the state
    """The source redirects to where it must not; the message says from where to where."""


def _login() -> tuple[str, str] | None:
    """User and password for the source; None if there is no user, so that no request has an empty one."""
    user, _, password = (read_settings().tlc_login or "").partition(":")
    return (user, password) if user else None


def is_private(address: str) -> bool:
    """Whether an IP address is not of the public internet, such as 127.0.0.1, 10.0.0.1, 169.254.169.254 and fd00::1."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # An address that stands for one of IPv4: mapped, 6to4, NAT64.
        nat64 = ipaddress.IPv4Address(ip.packed[12:]) if ip in ipaddress.ip_network("64:ff9b::/96") else None
        inner = ip.ipv4_mapped or ip.sixtofour or nat64
        if inner is not None:
            return is_private(str(inner))
    return not ip.is_global or ip.is_multicast


class SourceSession(requests.Session):
    """Connections to the source, whose redirects must not lead from a public address to a private one.

    Services at private addresses may trust every client. The address of the actual connection is checked, because a
    name may resolve to another address every time. The first connection is to the source itself: if its address is
    private, like that of a mirror, all redirects are allowed.

    With a proxy (HTTPS_PROXY and the like) the proxy resolves names and connects. Only numeric addresses in redirects
    are checked here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_source_private: bool | None = None
        adapter = _Adapter(self)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def ask(self, method: str, url: str, **arguments: Any) -> requests.Response:
        """Sends a request and follows redirects, but none from https to http; the body is not read.

        User and password of the source are sent to its own host only.
        """
        source = read_settings().tlc_base_url
        self._check_number(url)
        for _ in range(MOST_REDIRECTS + 1):
            is_own = not self.should_strip_auth(source, url)  # type: ignore[no-untyped-call]
            auth = _login() if is_own else None
            response = self.request(method, url, auth=auth, allow_redirects=False, stream=True, **arguments)
            if not response.is_redirect:
                return response
            # Closed, not read: the body of a redirect may be endless.
            response.close()
            url = self._checked(url, response.headers["Location"])
        raise ForbiddenRedirect(f"to {without_secrets(url)}, after {MOST_REDIRECTS} others")

    def resolve_redirects(self, *arguments: Any, **others: Any) -> Iterator[Any]:
        """Yields nothing: the method of requests would read the whole body of a redirect, however long."""
        return iter(())

    def check_address(self, address: str) -> None:
        if self.is_source_private is None:
            self.is_source_private = is_private(address)
        elif is_private(address) and not self.is_source_private:
            raise ForbiddenRedirect(f"from a public address to the private one {address}")

    def _checked(self, url: str, location: str) -> str:
        """The URL that a redirect from ``url`` leads to, if it may; ``location`` is the header, decoded as Latin-1."""
        if self.is_source_private is None:
            # A name behind a proxy.
            self.is_source_private = False
        try:
            new = urljoin(url, location.encode("latin-1").decode())
            parts = urlsplit(new)
            scheme, _ = parts.scheme, parts.port  # an invalid port raises an error here
        except ValueError as error:
            raise ForbiddenRedirect(f"to what is not a URL: {error}") from None
        if scheme not in ("http", "https") or (scheme == "http" and urlsplit(url).scheme == "https"):
            raise ForbiddenRedirect(f"from {urlsplit(url).scheme} to {without_secrets(new)}")
        self._check_number(new)
        return new

    def _check_number(self, url: str) -> None:
        host = urlsplit(url).hostname or ""
        try:
            found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return  # a name
        self.check_address(str(found[0][4][0]))


class _Adapter(HTTPAdapter):
    """Checks the address of every connection, before anything is sent."""

    def __init__(self, session: SourceSession) -> None:
        self._session = session
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **others: Any) -> None:
        super().init_poolmanager(*arguments, **others)
        session = self._session

        def checked(connected: socket.socket) -> socket.socket:
            try:
                session.check_address(connected.getpeername()[0])
            except ForbiddenRedirect:
                connected.close()
                raise
            return connected

        # _new_conn is not public: no public method runs between the connection and the TLS handshake.
        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return checked(super()._new_conn())

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return checked(super()._new_conn())

        plain = type("Plain", (HTTPConnectionPool,), {"ConnectionCls": Plain})
        secure = type("Secure", (HTTPSConnectionPool,), {"ConnectionCls": Secure})
        self.poolmanager.pool_classes_by_scheme = {"http": plain, "https": secure}


def size_of(text: str) -> int | None:
    """The number of bytes in a header; None if it has no number."""
    return int(text) if text.isdecimal() and len(text) < 20 else None


def version_of(response: requests.Response) -> tuple[str | None, str | None, int | None]:
    """ETag, Last-Modified and Content-Length of a response; None for each that is missing or cannot be stored."""
    etag, changed = (response.headers.get(name, "") for name in ("ETag", "Last-Modified"))
    texts = [text if len(text) <= MOST_CHARACTERS and text.isprintable() else "" for text in (etag, changed)]
    return texts[0] or None, texts[1] or None, size_of(response.headers.get("Content-Length", ""))
