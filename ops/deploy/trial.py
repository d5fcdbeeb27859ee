"""A new image, tried in containers of its own before anything that runs is touched."""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ops.command import ROOT, CommandError, inspect, last_lines, run, show
from ops.contract.compare import Asset
from ops.deploy.location import PORT, Location

# How long a code server may take from its start to its first answer, unless a setting says otherwise.
START_SECONDS = 120

# Asks for health inside the container, ten times a second: Docker's own health check looks every ten seconds only, and
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
            said = "it says that it is not healthy"
    except grpc.RpcError as error:
        said = error.code().name
    if time.monotonic() > deadline:
        sys.exit(said)
    time.sleep(0.1)
"""


class SettingError(ValueError):
    """A setting of the deploy that makes no sense; the message names it."""


class TrialError(RuntimeError):
    """An image is no good; the message says which check says so and why."""


def build(location: Location) -> None:
    """Builds a location's image and the one with its tests from its folder, unless they are there: a tag never changes.

    Raises:
        CommandError: the build fails, which says why itself.
    """
    env = location.tag_setting
    if inspect("image", location.image) is None:
        show("docker", "compose", "build", location.name, env=env)
    if inspect("image", location.tests_image) is None:
        run("docker", "build", "--target", "test", "--tag", location.tests_image, str(ROOT / location.name))


def try_image(location: Location) -> list[Asset]:
    """Checks an image: its definitions load, its own tests pass, its code server gets healthy.

    Returns:
        Its assets, as contract/describe.py describes them.

    Raises:
        TrialError: a check fails.
    """
    with ThreadPoolExecutor(3) as checks:
        described = checks.submit(_describe, location)
        others = [checks.submit(check, location) for check in (_run_tests, _serve_for_a_moment)]
        # What does not load has no other trouble that is worth telling.
        assets = described.result()
        for other in others:
            other.result()
    return assets


def _describe(location: Location) -> list[Asset]:
    script = (ROOT / "ops/contract/describe.py").read_text()
    start = ("docker", "run", "--rm", "--interactive", *_apart(location), location.image)
    try:
        printed = run(*start, "python", "-", location.name, stdin=script)
    except CommandError as error:
        raise TrialError(f"The definitions in {location.image} do not load: {error}") from error
    assets: list[Asset] = json.loads(printed.splitlines()[-1])
    return assets


def _run_tests(location: Location) -> None:
    if inspect("image", location.tests_image) is None:
        # An image that came from elsewhere, or was deployed before.
        print(f"  its own tests were not run: there is no image {location.tests_image} here", flush=True)
        return
    try:
        run("docker", "run", "--rm", "--pull", "never", "--network", "none", location.tests_image)
    except CommandError as error:
        raise TrialError(f"The tests that ship with {location.image} fail: {error}") from error


def _serve_for_a_moment(location: Location) -> None:
    name = f"{location.project}-{location.name}-trial"
    with _container_that_goes(name):
        run(
            *("docker", "run", "--detach", "--init", "--name", name, "--label", f"project={location.project}"),
            *(*_apart(location), location.image),
        )
        wait_for_health(name)


def start_seconds(env: Mapping[str, str] = os.environ) -> int:
    """Reads DEPLOY_START_SECONDS: how long a code server may take to start; unset or empty is 120.

    Raises:
        SettingError: the value is not a number of seconds from 1 to 3600.
    """
    value = env.get("DEPLOY_START_SECONDS", "").strip() or str(START_SECONDS)
    if not value.isdecimal() or not 1 <= int(value) <= 3600:
        raise SettingError(f"DEPLOY_START_SECONDS={value!r} is not a number of seconds from 1 to 3600.")
    return int(value)


def wait_for_health(container: str) -> None:
    """Waits until a container's code server answers that it is healthy.

    Raises:
        TrialError: it ends, or it does not answer in time; the message has what it printed last.
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
    # Both streams: a server's errors are on the second one.
    logs = run("sh", "-c", 'docker logs --tail 40 "$0" 2>&1', container)
    return last_lines(logs) or "nothing"


def _apart(location: Location) -> list[str]:
    """Options of a container that reaches nothing, with the environment of the code server."""
    # By value: a variable of the location's that docker itself reads, such as DOCKER_HOST, must not lead it astray.
    variables = [option for setting in location.environment.items() for option in ("--env", "=".join(setting))]
    return ["--pull", "never", "--network", "none", *variables]


@contextmanager
def _container_that_goes(name: str) -> Iterator[None]:
    remove = ("docker", "rm", "--force", "--volumes", name)
    if inspect("container", name):
        run(*remove)  # of a deploy that was killed
    try:
        yield
    finally:
        if inspect("container", name):
            run(*remove)
