"""How the tests kill parts of the stack, and wait for them to be back."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

from ops.command import ROOT
from tests.stack.conftest import Stack
from tests.stack.webserver import wait_for

# The daemon's settings in dagster.yaml that the tests wait for, and shorter ones.
SOONER = {"poll_interval_seconds: 15": "poll_interval_seconds: 3"}
SOONER |= {"free_slots_after_run_end_seconds: 60": "free_slots_after_run_end_seconds: 5"}
# A run whose container was killed before its first event. A busy machine needs half a minute for that event, and a very
# busy one more.
START_SOONER = {"start_timeout_seconds: 180": "start_timeout_seconds: 90"}


def start_impatient(stack: Stack, sooner: dict[str, str] = SOONER | START_SOONER, **settings: str) -> Stack:
    """Starts the stack so that it detects lost runs and hanging services sooner."""
    dagster = (ROOT / "dagster.yaml").read_text()
    for usual, short in sooner.items():
        assert usual in dagster
        dagster = dagster.replace(usual, short)
    # impatient.yaml mounts it.
    (ROOT / ".demo").mkdir(exist_ok=True)
    (ROOT / ".demo/impatient_dagster.yaml").write_text(dagster)
    # A build waits for a lock until services are back, which takes minutes on a busy machine.
    return stack.start("impatient.yaml", TAXI_END_DATE="2023-05-01", TAXI_LOCK_WAIT_SECONDS="600", **settings)


def die(stack: Stack, container: str) -> None:
    """Kills a container's main process from outside, as the kernel does when memory runs out."""
    (inspected,) = stack.inspect(container)
    pid = inspected["State"]["Pid"]
    # To kill process 0 is to kill the caller's own group.
    assert pid, f"{container} does not run"
    os.kill(pid, signal.SIGKILL)


def state(stack: Stack, container: str) -> dict[str, Any]:
    """The state of a container as Docker describes it."""
    (inspected,) = stack.inspect(container)
    found: dict[str, Any] = inspected["State"]
    return found


@contextlib.contextmanager
def coming_back(stack: Stack, *services: str) -> Iterator[None]:
    """Waits, after the body of the ``with``, until each service has been started again and is healthy."""
    containers = {service: stack.services()[service]["ID"] for service in services}
    before = {service: state(stack, container) for service, container in containers.items()}
    yield
    for service, container in containers.items():

        def look(service: str = service, container: str = container) -> bool | None:
            now = state(stack, container)
            started = now["StartedAt"] != before[service]["StartedAt"]
            return (started and now["Health"]["Status"] == "healthy") or None

        wait_for(f"{service} to be back", 600, look)


def die_and_come_back(stack: Stack, *services: str) -> None:
    """Kills services and waits until Docker has started them again and they are healthy."""
    with coming_back(stack, *services):
        for service in services:
            die(stack, stack.services()[service]["ID"])
