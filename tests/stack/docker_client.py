"""Sends raw requests to a proxy of Docker's socket, from inside a network of the stack."""

import base64
import http.client
import io
import json
import subprocess
from typing import Any

# Reads lines with a host and a request, and prints the response, both in base64.
SENDER = """
while read -r host request; do
  if exec 3<>"/dev/tcp/$host/2375"; then
    base64 -d <<<"$request" >&3
    timeout 20 cat <&3 | base64 -w0
    exec 3>&-
  fi 2>/dev/null
  echo
done
"""


class _Response(io.BytesIO):
    """What http.client reads a response from."""

    def makefile(self, mode: str) -> io.BytesIO:
        return self


class Insider:
    """A process in a network."""

    def __init__(self, image: str, network: str, proxy: str) -> None:
        # Docker asks the next server for a name that it does not know.
        brief = ("--env", "RES_OPTIONS=timeout:1 attempts:1")
        command = ["docker", "run", "--rm", "--interactive", "--network", network, *brief, image, "bash", "-c", SENDER]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._proxy = proxy

    def close(self) -> None:
        self._process.communicate(timeout=180)

    def send(self, request: bytes, proxy: str = "") -> tuple[int, Any]:
        """Sends a whole request. Returns status and body, decoded if it is JSON; the status is 0 without a response."""
        assert self._process.stdin
        assert self._process.stdout
        print(proxy or self._proxy, base64.b64encode(request).decode(), file=self._process.stdin, flush=True)
        received = base64.b64decode(self._process.stdout.readline())
        if not received:
            return 0, ""
        response = http.client.HTTPResponse(_Response(received), method=request.split()[0].decode())  # type: ignore[arg-type]
        response.begin()
        content = response.read()
        try:
            return response.status, json.loads(content)
        except ValueError:
            return response.status, content.decode(errors="replace")

    def call(self, method: str, path: str, body: bytes = b"", *headers: str) -> tuple[int, Any]:
        """Sends a request with these headers besides those that every request has."""
        lines = [f"{method} {path} HTTP/1.1", "Host: docker", *headers]
        given = {header.split(":")[0].lower() for header in headers}
        if "connection" not in given:
            lines.append("Connection: close")
        if body and not given & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
