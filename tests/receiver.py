"""A receiver of alerts: a real HTTP server that keeps what it gets and gives prepared answers."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps the bodies of all requests; ``answers`` are the statuses of the next ones, 200 afterwards."""

    daemon_threads = True

    def __init__(self, host: str, port: int = 0) -> None:
        super().__init__((host, port), Handler)
        self.got: list[dict[str, Any]] = []
        self.by_path: list[tuple[str, dict[str, Any]]] = []
        self.pings = 0
        self.answers: list[int] = []
        self.silent = threading.Event()
        self.ended = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_GET(self) -> None:
        self.server.pings += 1
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.silent.is_set():
            self.server.ended.wait()
            return
        self.server.got.append(json.loads(body))
        self.server.by_path.append((self.path, self.server.got[-1]))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""


@contextmanager
def receiving(host: str = "127.0.0.1", port: int = 0) -> Iterator[Receiver]:
    """A receiver on a port of this machine, a free one without a number."""
    receiver = Receiver(host, port)
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.ended.set()
        receiver.shutdown()
        receiver.server_close()
        thread.join()
