"""The image of a location: its tag, its build, its trial in containers of its own, and its removal."""

import hashlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ops import compose
from ops.command import ROOT, CommandError, OpsError, inspect, last_lines, log, run, show
from ops.contract.compare import Asset
from ops.deploy import policy
from ops.deploy.records import Record, Version, prunable
from ops.locations import Location

# So many images that were deployed are kept.
KEPT = 3
# Checks the health inside the container ten times a second: a container on trial has no health check of Docker's, and
# dagster's command for it takes seconds to import.
ASK_HEALTH = """
import sys, time
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
deadline = time.monotonic() + float(sys.argv[1])
while True:
    try:
        with grpc.insecure_channel("localhost:4000") as channel:
            request = health_pb2.HealthCheckRequest(service="DagsterApi")
            if health_pb2_grpc.HealthStub(channel).Check(request, timeout=2).status == 1:
                # Without Dagster: a message whose first field is a short text.
                print(channel.unary_unary("/api.DagsterApi/GetServerId")(b"", timeout=2)[2:].decode())
                sys.exit()
            message = "it reports that it is not healthy"
    except grpc.RpcError as error:
        message = error.code().name
    if time.monotonic() > deadline:
        sys.exit(message)
    time.sleep(0.1)
"""
# GraphQL names the image of a run once the run is launched. The image of a queued run is in the run itself, which is
# read through the webserver's instance.
_IMAGES_OF_UNFINISHED_RUNS = """
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
finished = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
with DagsterInstance.get() as instance:
    for run in instance.get_runs(RunsFilter(statuses=[s for s in DagsterRunStatus if s not in finished])):
        origin = run.job_code_origin
        print(origin.repository_origin.container_image if origin else "")
        print(run.tags.get("dagster/image", ""))
"""


def source_tag(name: str, root: Path = ROOT) -> str:
    """Names the content of a location's folder by the last commit that changed it: other teams' commits do not count.

    With uncommitted changes, ``-dirty-`` and a digest of its files follow.
    """
    git = ("git", "-C", str(root))
    try:
        commit = run(*git, "log", "-1", "--format=%h", "--abbrev=10", "--", name).strip()
        changed = run(*git, "status", "--porcelain", "--untracked-files=all", "--", name)
    except CommandError as error:
        raise OpsError(
            f"git cannot tell which version of {name} this is. Give TAG=, the tag of an existing image. {error}"
        ) from error
    if not commit:
        raise OpsError(f"{name} is in no commit yet, so its image would have no name. Commit it, or give TAG=.")
    return f"{commit}-dirty-{_digest(name, root, git)}" if changed else commit


def _digest(name: str, root: Path, git: tuple[str, ...]) -> str:
    """Digest of the folder's files as git would commit them, computed in a copy of the index."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        shutil.copy(root / run(*git, "rev-parse", "--git-path", "index").strip(), index)
        env = {"GIT_INDEX_FILE": str(index)}
        run(*git, "add", "--all", "--", name, env=env)
        files = run(*git, "ls-files", "--stage", "--", name, env=env)
    return hashlib.sha256(files.encode()).hexdigest()[:8]


def build(location: Location) -> None:
    """Builds a location's image and the image with its tests unless they exist: the content of a tag never changes."""
    if inspect("image", location.image) is None:
        show("docker", "compose", "build", location.name, env=location.tag_setting)
    if inspect("image", location.tests_image) is None:
        # The base image that .env names, if it names one.
        args = compose.config()["services"][location.name]["build"].get("args", {})
        given = [f"--build-arg={name}={value}" for name, value in args.items()]
        run("docker", "build", "--target", "test", *given, "--tag", location.tests_image, str(ROOT / location.name))


def restore_tag(image: str, version: Version) -> None:
    """Points a tag at the image that it was deployed with; `docker compose up --build` may have moved it."""
    there = inspect("image", image)
    if (there is None or there["Id"] != version.image) and inspect("image", version.image):
        run("docker", "image", "tag", version.image, image)


# A trial's code is not trusted yet: it gets no network, no rights and no volume.
_CONFINED = (
    *("--pull", "never", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
    *("--memory", "2g", "--pids-limit", "512"),
)


def try_image(location: Location, passed: bool) -> list[Asset]:
    """Returns an image's assets if its definitions load, its own tests pass and its code server becomes healthy.

    The tests of an image that has ``passed`` a deploy are not run again, so that a rollback takes less time.
    """
    with ThreadPoolExecutor(3) as checks:
        start = ("docker", "run", "--rm", "--interactive", *_isolated(location), location.image)
        described = checks.submit(describe, location, *start)
        others = [checks.submit(_serve_for_a_moment, location)]
        if passed:
            log("  its own tests are not run again: this image was deployed before")
        else:
            others.append(checks.submit(_run_tests, location))
        # If the definitions do not load, the other failures follow from that.
        assets = described.result()
        for other in others:
            other.result()
    return assets


def describe(location: Location, *start: str) -> list[Asset]:
    """Returns an image's assets, loaded in a container in which ``start`` starts a command."""
    script = (ROOT / "ops/contract/describe.py").read_text()
    try:
        printed = run(*start, "python", "-", location.name, stdin=script)
    except CommandError as error:
        raise OpsError(f"The definitions in {location.image} do not load: {error}") from error
    return list(json.loads(printed.splitlines()[-1]))


def _run_tests(location: Location) -> None:
    if inspect("image", location.tests_image) is None:
        # An image that was loaded from elsewhere.
        log(f"  its own tests were not run: there is no image {location.tests_image} here")
        return
    try:
        run("docker", "run", "--rm", *_CONFINED, location.tests_image)
    except CommandError as error:
        raise OpsError(f"The tests that ship with {location.image} fail: {error}") from error


def _serve_for_a_moment(location: Location) -> None:
    name = f"{location.project}-{location.name}-trial"
    _remove(name)  # left by a deploy that was killed
    start = ("docker", "run", "--detach", "--init", "--name", name, "--label", f"project={location.project}")
    try:
        run(*start, *_isolated(location), location.image)
        wait_for_health(name)
    finally:
        _remove(name)


def _remove(container: str) -> None:
    if inspect("container", container):
        run("docker", "rm", "--force", "--volumes", container)


def start_seconds() -> int:
    """Reads DEPLOY_START_SECONDS, how long a code server may take to become healthy. Unset or empty means 120."""
    value = os.environ.get("DEPLOY_START_SECONDS", "").strip() or "120"
    if not value.isdecimal() or not 1 <= int(value) <= 3600:
        raise OpsError(f"DEPLOY_START_SECONDS={value!r} is not a number of seconds from 1 to 3600.")
    return int(value)


def wait_for_health(container: str) -> str:
    """Waits until a container's code server is healthy, and returns its id; an error has the end of its output."""
    seconds = start_seconds()
    try:
        return run("docker", "exec", container, "python", "-c", ASK_HEALTH, str(seconds)).strip()
    except CommandError as error:
        described = inspect("container", container)
        # Both streams: a server prints errors on the second one.
        logs = run("sh", "-c", 'docker logs --tail 40 "$0" 2>&1', container) if described else ""
        printed = last_lines(logs) or "nothing"
        if not described or not described["State"]["Running"] or described["RestartCount"]:
            raise OpsError(f"The code server ended instead of serving: {printed}") from error
        late = f"The code server was not healthy within DEPLOY_START_SECONDS={seconds} ({last_lines(str(error), 1)})."
        raise OpsError(f"{late} It printed: {printed}") from error


def _isolated(location: Location) -> list[str]:
    """Options of a trial that has the environment of the code server."""
    # By value, not by name: docker itself reads some variables, such as DOCKER_HOST, from its own environment.
    variables = [option for setting in location.environment.items() for option in ("--env", "=".join(setting))]
    return [*_CONFINED, *variables]


def prune(location: Location, records: list[Record]) -> None:
    """Removes the images of this location's deploys that nothing needs, except the last three that were deployed.

    A run that is created meanwhile uses the version that the daemon has loaded: the one in use or, shortly after a
    deploy, the one before. Both are kept.
    """
    try:
        needed = {image.rpartition(":")[2] for image in _needed_images() if image.startswith(f"{location.name}:")}
    except CommandError as error:
        log(f"old images were not removed: {error}")
        return
    removed: list[str] = []
    for tag in prunable(records, needed, KEPT):
        images = [f"{location.name}:{tag}-test", f"{location.name}:{tag}"]
        try:
            # Without --force, so that the engine refuses if a container was created meanwhile.
            if there := [image for image in images if inspect("image", image)]:
                run("docker", "image", "rm", *there)
                removed.append(f"{location.name}:{tag}")
                log(f"{location.name}:{tag}: removed, since nothing needs it")
        except CommandError as error:
            log(f"{location.name}:{tag}: not removed: {error}")
    if removed:
        try:
            policy.record(location, removed)
        except CommandError as error:
            log(f"the run policy of {location.name} still has images that were removed: {error}")


def _needed_images() -> set[str]:
    of_runs = run("docker", "compose", "exec", "-T", "webserver", "python", "-", stdin=_IMAGES_OF_UNFINISHED_RUNS)
    # After the runs: a run that is launched in between is in the first list, and its container in the second.
    of_containers = run("docker", "ps", "--all", "--no-trunc", "--format", "{{.Image}}")
    return {*of_runs.split(), *of_containers.split()}
