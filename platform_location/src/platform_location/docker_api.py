"""The four calls of Docker's API that housekeeping makes, through housekeeping-proxy.

The docker package is not used, because its removal always sends the parameter ``force``, which the proxy refuses.
Containers are addressed by name, because the proxy allows only the names of runs' containers.
"""

import http.client
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

# The engine answers each of these calls at once; a tick has a minute.
TIMEOUT_SECONDS = 10
# Statuses of the proxy while the engine does not answer it; 0 stands for no answer at all.
AWAY = (0, 502, 503, 504)
GONE = 404
# Statuses for a log that cannot be read: its driver keeps it elsewhere, or it is broken.
NO_LOG = (500, 501)


class DockerError(RuntimeError):
    """Docker, or the proxy in front of it, refused a call or did not answer; ``status`` is 0 if there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Docker:
    """An engine, given its address, tcp://HOST:PORT."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme != "tcp" or not parts.hostname or not parts.port:
            raise DockerError(
                f"DOCKER_HOST={address!r} is not an address. It looks like tcp://housekeeping-proxy:2375."
            )
        self._host, self._port = parts.hostname, parts.port

    def containers(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Lists all containers, ended ones too, that have these labels, each NAME or NAME=VALUE."""
        query = urlencode({"all": 1, "filters": json.dumps({"label": list(labels)})})
        listed: list[dict[str, Any]] = json.loads(self._call("GET", f"/containers/json?{query}"))
        return listed

    def inspect(self, container: str) -> dict[str, Any]:
        inspected: dict[str, Any] = json.loads(self._call("GET", f"/containers/{quote(container)}/json"))
        return inspected

    def tail(self, container: str, lines: int) -> bytes:
        """Returns the last lines of a container's stdout and stderr, in the order in which they were printed."""
        query = urlencode({"stdout": 1, "stderr": 1, "tail": lines})
        return b"".join(frames(self._call("GET", f"/containers/{quote(container)}/logs?{query}")))

    def remove(self, container: str) -> None:
        """Removes a container that has ended. Nothing forces it, so Docker refuses to remove a running one."""
        self._call("DELETE", f"/containers/{quote(container)}")

    def _call(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DockerError(
                f"{method} {path}: {self._host}:{self._port} does not answer ({error}). "
                "See `docker compose logs housekeeping-proxy`."
            ) from error
        finally:
            connection.close()
        if response.status >= 300:
            message = content.decode(errors="replace").strip()
            raise DockerError(f"{method} {path}: {response.status} {message}", response.status)
        return content


def frames(stream: bytes) -> Iterator[bytes]:
    """Yields the contents of a log's frames: a byte for the stream, 3 of padding, 4 for the length, the content."""
    position = 0
    while position + 8 <= len(stream):
        (length,) = struct.unpack_from(">I", stream, position + 4)
        yield stream[position + 8 : position + 8 + length]
        position += 8 + length
