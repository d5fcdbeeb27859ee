"""Tests a new image in containers of its own before anything that runs is touched."""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ops.command import ROOT, CommandError, inspect, last_lines, log, run
from ops.contract.compare import Asset
from ops.errors import OpsError
from ops.locations import PORT, Location

# Checks the health inside the container ten times a second: Docker's own health check runs only every ten seconds, and
# dagster's command for it takes seconds to import.
_WAIT_FOR_HEALTH = """
import sys, time
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
deadline = time.monotonic() + float(sys.argv[2])
while True:
    try:
        with grpc.insecure_channel(f"localhost:{sys.argv[1]}") as channel:
            request = health_pb2.HealthCheckRequest(service="DagsterApi")
            if health_pb2_grpc.HealthStub(channel).Check(request, timeout=2).status == 1:
                sys.exit()
            said = "it reports that it is not healthy"
    except grpc.RpcError as error:
        said = error.code().name
    if time.monotonic() > deadline:
        sys.exit(said)
    time.sleep(0.1)
"""


class TrialError(OpsError):
    """An image failed a check; the message says which one and why."""


def try_image(location: Location) -> list[Asset]:
    """Checks that an image's definitions load, its own tests pass, and its code server becomes healthy.

    Returns:
        Its assets, as described by contract/describe.py.

    Raises:
        TrialError: a check fails.
    """
    with ThreadPoolExecutor(3) as checks:
        described = checks.submit(_describe, location)
        others = [checks.submit(check, location) for check in (_run_tests, _serve_for_a_moment)]
        # If the definitions do not load, the other failures follow from that.
        assets = described.result()
        for other in others:
            other.result()
    return assets


def _describe(location: Location) -> list[Asset]:
    script = (ROOT / "ops/contract/describe.py").read_text()
    start = ("docker", "run", "--rm", "--interactive", *_isolated(location), location.image)
    try:
        printed = run(*start, "python", "-", location.name, stdin=script)
    except CommandError as error:
        raise TrialError(f"The definitions in {location.image} do not load: {error}") from error
    assets: list[Asset] = json.loads(printed.splitlines()[-1])
    return assets


def _run_tests(location: Location) -> None:
    if inspect("image", location.tests_image) is None:
        # An image that was loaded from elsewhere, or deployed before.
        log(f"  its own tests were not run: there is no image {location.tests_image} here")
        return
    try:
        run("docker", "run", "--rm", "--pull", "never", "--network", "none", location.tests_image)
    except CommandError as error:
        raise TrialError(f"The tests that ship with {location.image} fail: {error}") from error


def _serve_for_a_moment(location: Location) -> None:
    name = f"{location.project}-{location.name}-trial"
    with _removed(name):
        run(
            *("docker", "run", "--detach", "--init", "--name", name, "--label", f"project={location.project}"),
            *(*_isolated(location), location.image),
        )
        wait_for_health(name)


def start_seconds(env: Mapping[str, str] = os.environ) -> int:
    """Reads DEPLOY_START_SECONDS, how long a code server may take to become healthy. Unset or empty means 120."""
    value = env.get("DEPLOY_START_SECONDS", "").strip() or "120"
    if not value.isdecimal() or not 1 <= int(value) <= 3600:
        raise OpsError(f"DEPLOY_START_SECONDS={value!r} is not a number of seconds from 1 to 3600.")
    return int(value)


def wait_for_health(container: str) -> None:
    """Waits until a container's code server reports that it is healthy.

    Raises:
        TrialError: it exits, or is not healthy in time; the message has the end of its output.
    """
    seconds = start_seconds()
    try:
        run("docker", "exec", container, "python", "-c", _WAIT_FOR_HEALTH, str(PORT), str(seconds))
    except CommandError as error:
        described = inspect("container", container)
        printed = _printed(container) if described else ""
        if not described or not described["State"]["Running"] or described["RestartCount"]:
            raise TrialError(f"The code server ended instead of serving: {printed}") from error
        said = last_lines(str(error), 1)
        raise TrialError(
            f"The code server was not healthy within DEPLOY_START_SECONDS={seconds} ({said}). It printed: {printed}"
        ) from error


def _printed(container: str) -> str:
    # Both streams: a server prints errors on the second one.
    logs = run("sh", "-c", 'docker logs --tail 40 "$0" 2>&1', container)
    return last_lines(logs) or "nothing"


def _isolated(location: Location) -> list[str]:
    """Options of a container without a network that has the environment of the code server."""
    # By value, not by name: docker itself reads some variables, such as DOCKER_HOST, from its own environment.
    variables = [option for setting in location.environment.items() for option in ("--env", "=".join(setting))]
    return ["--pull", "never", "--network", "none", *variables]


@contextmanager
def _removed(name: str) -> Iterator[None]:
    remove = ("docker", "rm", "--force", "--volumes", name)
    if inspect("container", name):
        run(*remove)  # left by a deploy that was killed
    try:
        yield
    finally:
        if inspect("container", name):
            run(*remove)
