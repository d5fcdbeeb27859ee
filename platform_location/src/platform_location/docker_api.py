"""The four calls of Docker's API that housekeeping makes, over the proxy's port for it.

Not the docker package: its removal always sends the parameter ``force``, which the proxy refuses.
"""

import http.client
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

# The engine answers all of these at once; a tick has a minute.
TIMEOUT_SECONDS = 10
# Of the proxy, where the engine does not answer it; 0 is no answer at all.
AWAY = (0, 502, 503, 504)
GONE = 404
# A log that cannot be read: kept elsewhere by its driver, or broken.
NO_LOG = (500, 501)


class DockerError(RuntimeError):
    """Docker, or the proxy in front of it, did not do what it was asked; the message is what it said.

    Attributes:
        status: status of the answer; 0 where there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        """Takes the message and the status."""
        super().__init__(message)
        self.status = status


class Docker:
    """An engine, by its address: tcp://HOST:PORT."""

    def __init__(self, address: str) -> None:
        """Takes the address.

        Raises:
            DockerError: it is not one.
        """
        parts = urlsplit(address)
        if parts.scheme != "tcp" or not parts.hostname or not parts.port:
            raise DockerError(f"DOCKER_HOST={address!r} is not an address. It looks like tcp://docker-proxy:2376.")
        self._host, self._port = parts.hostname, parts.port

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Docker":
        """Reads DOCKER_HOST.

        Raises:
            DockerError: it is missing or not an address.
        """
        return cls(env.get("DOCKER_HOST", ""))

    def containers(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Lists all containers, ended ones too, that have these labels, each NAME or NAME=VALUE."""
        query = urlencode({"all": 1, "filters": json.dumps({"label": list(labels)})})
        listed: list[dict[str, Any]] = json.loads(self._call("GET", f"/containers/json?{query}"))
        return listed

    def inspect(self, container: str) -> dict[str, Any]:
        """What Docker knows of a container."""
        inspected: dict[str, Any] = json.loads(self._call("GET", f"/containers/{quote(container)}/json"))
        return inspected

    def tail(self, container: str, lines: int) -> bytes:
        """The last lines of what a container printed, stdout and stderr in the order in which they came."""
        query = urlencode({"stdout": 1, "stderr": 1, "tail": lines})
        return b"".join(frames(self._call("GET", f"/containers/{quote(container)}/logs?{query}")))

    def remove(self, container: str) -> None:
        """Removes a container that has ended. Docker refuses to remove one that runs, since nothing forces it to."""
        self._call("DELETE", f"/containers/{quote(container)}")

    def _call(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DockerError(
                f"{method} {path}: {self._host}:{self._port} is silent ({error}). Look at the service docker-proxy."
            ) from error
        finally:
            connection.close()
        if response.status >= 300:
            said = content.decode(errors="replace").strip()
            raise DockerError(f"{method} {path}: {response.status} {said}", response.status)
        return content


def frames(stream: bytes) -> Iterator[bytes]:
    """The contents of a log's frames: a byte for the stream, three of padding, four for the length, the content."""
    position = 0
    while position + 8 <= len(stream):
        (length,) = struct.unpack_from(">I", stream, position + 4)
        yield stream[position + 8 : position + 8 + length]
        position += 8 + length
