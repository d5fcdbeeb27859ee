"""What the containers of a stack use while nothing is asked of them."""

import http.client
import json
import os
import socket
import time
from typing import Any
from urllib.parse import quote

SOCKET = os.environ.get("DOCKER_SOCKET", "/var/run/docker.sock")


class _Engine(http.client.HTTPConnection):
    """A connection to Docker's API."""

    def connect(self) -> None:
        """Opens Docker's socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def _ask(path: str) -> Any:
    engine = _Engine("docker")
    try:
        engine.request("GET", path)
        return json.load(engine.getresponse())
    finally:
        engine.close()


def _containers(project: str) -> dict[str, str]:
    """Per service of a compose project that runs, its container."""
    label = json.dumps({"label": [f"com.docker.compose.project={project}"]})
    found = _ask(f"/containers/json?filters={quote(label)}")
    return {each["Labels"]["com.docker.compose.service"]: each["Id"] for each in found}


def _stats(container: str) -> dict[str, Any]:
    return dict(_ask(f"/containers/{container}/stats?stream=false&one-shot=true"))


def _memory(stats: dict[str, Any]) -> int:
    """Bytes, as `docker stats` counts them: without the files that the kernel could drop."""
    memory = stats["memory_stats"]
    return int(memory["usage"] - memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file", 0)))


def idle(project: str, seconds: int) -> dict[str, dict[str, float]]:
    """Per service: memory in MB (10^6 bytes), and CPU in percent of one core over so many seconds.

    The health checks run in the containers, so they count.
    """
    containers = _containers(project)
    before = {service: _stats(container) for service, container in containers.items()}
    start = time.monotonic()
    time.sleep(seconds)
    after = {service: _stats(container) for service, container in containers.items()}
    passed = time.monotonic() - start

    def cpu(stats: dict[str, Any]) -> int:
        return int(stats["cpu_stats"]["cpu_usage"]["total_usage"])

    return {
        service: {
            "memory_mb": round(_memory(after[service]) / 1e6, 1),
            "cpu_percent": round((cpu(after[service]) - cpu(before[service])) / 1e9 / passed * 100, 2),
        }
        for service in sorted(containers)
    }
