"""The sample's file server as a source that throttles: it answers HEAD for every file and refuses GET of some."""

from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# A path per line.
REFUSED = Path("files/refused")


class Handler(SimpleHTTPRequestHandler):
    """Serves files, or asks to wait longer than a load waits."""

    def do_GET(self) -> None:
        if REFUSED.exists() and self.path in REFUSED.read_text().splitlines():
            self.send_response(HTTPStatus.SERVICE_UNAVAILABLE)
            self.send_header("Retry-After", "600")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), lambda *arguments: Handler(*arguments, directory="files")).serve_forever()
