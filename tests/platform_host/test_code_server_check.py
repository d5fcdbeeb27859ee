"""How a code server's health check asks: services/health.yaml, with gRPC's own health service."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from ops.command import ROOT
from tests.stack.webserver import wait_for

ASK = yaml.safe_load((ROOT / "services/health.yaml").read_text())["x-ask-code-server"]


class Served(HealthServicer):  # type: ignore[misc]
    """gRPC's health service on a port, which counts the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        server = grpc.server(ThreadPoolExecutor(1))
        add_HealthServicer_to_server(self, server)
        self.port = server.add_insecure_port("127.0.0.1:0")
        self.server = server

    def answer(self, status: int) -> None:
        self.set("DagsterApi", status)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        return super().Check(request, context)


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    served.answer(HealthCheckResponse.SERVING)
    served.server.start()
    yield served
    served.server.stop(None)


def ask(served: Served, seconds: int) -> subprocess.Popen[bytes]:
    """Starts the check's command, which is to ask for so many seconds."""
    command = [sys.executable, "-c", ASK.replace(":4000", f":{served.port}")]
    return subprocess.Popen(command, env={"CHECK_SECONDS": str(seconds), "HEALTHCHECK_INTERVAL_SECONDS": "0.1"})


@pytest.mark.parametrize("seconds", [0, -10])
def test_a_code_server_that_was_not_just_healthy_is_asked_once(served: Served, seconds: int) -> None:
    assert ask(served, seconds).wait(60) == 0
    assert served.asked == 1


def test_a_healthy_code_server_is_asked_by_one_process_until_it_does_not_serve(served: Served) -> None:
    asking = ask(served, 300)
    wait_for("several questions", 60, lambda: served.asked > 3 or None)
    served.answer(HealthCheckResponse.NOT_SERVING)
    assert asking.wait(60) == 1
