"""A real HTTP server that misbehaves as servers on the internet do, one act per request."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A server that answers each request with the next of its acts, and all further ones with the last.

    Attributes:
        root: its URL.
        requests: method, path and headers of each request, in their order.
        over: set at the end of the test, for acts that wait.
    """

    def __init__(self, *acts: Act, host: str = "127.0.0.1") -> None:
        self.acts = list(acts)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.over = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append((self.command, self.path, dict(self.headers)))
                act = site.acts.pop(0) if len(site.acts) > 1 else site.acts[0]
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    act(self)

            do_HEAD = do_GET  # noqa: N815, http.server's own name

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((host, 0), Handler)
        self.root = f"http://{host}:{self.server.server_address[1]}"

    def headers(self, name: str) -> list[str | None]:
        """The value of a header in each request, in their order."""
        return [headers.get(name) for _, _, headers in self.requests]


@contextlib.contextmanager
def serving(*acts: Act, host: str = "127.0.0.1") -> Iterator[Site]:
    """Serves during the body of a ``with``."""
    site = Site(*acts, host=host)
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.over.set()
        site.server.shutdown()
        thread.join()
        site.server.server_close()


def status(code: int, **headers: str) -> Act:
    """Answers with a status and no content; ``Retry_After="1"`` is the header Retry-After."""
    return send(b"", code, None, **headers)


def send(body: bytes, code: int = 200, length: int | None = None, **headers: str) -> Act:
    """Sends a body, with its own Content-Length or another one, and closes the connection."""

    def act(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    return act


def cut(body: bytes, after: int, **headers: str) -> Act:
    """Announces the whole body and closes the connection after some bytes."""
    return send(body[:after], 200, len(body), **headers)


def resumable(body: bytes, etag: str, at_most: int | None = None) -> Act:
    """Honours a Range if If-Range names this version, else sends the whole body; closes after ``at_most`` bytes."""

    def act(request: BaseHTTPRequestHandler) -> None:
        first = 0
        if request.headers["If-Range"] == etag:
            first = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        part = body[first : None if at_most is None else first + at_most]
        headers = {"ETag": etag} | ({"Content_Range": f"bytes {first}-{len(body) - 1}/{len(body)}"} if first else {})
        send(part, 206 if first else 200, len(body) - first, **headers)(request)

    return act
