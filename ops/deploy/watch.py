"""`make watch`: serves each change of a location's folder by the running stack, for whoever develops it."""

import time
from collections.abc import Iterator

from ops import compose
from ops.command import ROOT, OpsError, inspect, log, run
from ops.contract import served
from ops.deploy import code_server
from ops.deploy.deploy import lock
from ops.deploy.engine import who
from ops.deploy.image import restore_tag, wait_for_health
from ops.deploy.records import Version, good
from ops.env_file import env_file, with_variable
from ops.locations import Location, LocationArgument, check_exists, read_location, tag_variable

_POLL_SECONDS = 0.2


def watch(location: LocationArgument) -> None:
    """Serve each change of a location's folder by the running stack, until Ctrl-C. Runs use the change, too."""
    check_exists("LOCATION", location)
    image = compose.config()["services"][location]["image"]
    watched = read_location(location, image.rpartition(":")[2])
    with lock(watched, f"make watch of {who()}") as ledger:
        if good(ledger.read()) or _is_pinned(location):
            raise OpsError(
                f"{location} was deployed by `make deploy` (see `make deployments`, and {tag_variable(location)} in "
                f"{env_file().name}), and what was deployed must not change. Deploy the change, or watch in a clone "
                "with a stack of its own, which nobody deploys to (COMPOSE_PROJECT_NAME=…)."
            )
        if not code_server.containers(watched):
            raise OpsError(f"{location} does not run. Start the stack: make up")
        for _ in _changes(location):
            try:
                _serve(watched)
            except OpsError as error:
                log(f"{error}\n{location}: not served. The code before it still is; waiting for the next change.")


def _is_pinned(name: str) -> bool:
    text = env_file().read_text() if env_file().exists() else ""
    return with_variable(text, tag_variable(name), None) != "".join(f"{line}\n" for line in text.splitlines())


def _changes(name: str) -> Iterator[None]:
    """Yields at once, and after each change of files that git does not ignore."""
    served: dict[str, int] | None = None
    before: dict[str, int] | None = None
    while True:
        files = _files(name)
        # Files that changed just now may not be complete.
        if files == before and files != served:
            served = files
            yield
        before = files
        time.sleep(_POLL_SECONDS)


def _files(name: str) -> dict[str, int]:
    """The files of a location's folder with the time of their last change, in nanoseconds."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", name).split("\0")
    paths = [ROOT / path for path in listed if path]
    return {str(path): path.stat().st_mtime_ns for path in paths if path.exists()}


def _serve(location: Location) -> None:
    """Builds a location's image and, if it is another one, starts its code server and has the gateway switch to it."""
    began = time.monotonic()
    before = inspect("image", location.image)
    run("docker", "compose", "build", "--quiet", location.name)
    built = inspect("image", location.image)
    if built and all(each["Image"] == built["Id"] for each in code_server.containers(location)):
        log(f"{location.name}: served is what is in the folder")
        return
    try:
        address = code_server.serving_address(location)
        container = code_server.start_beside(location)
        wait_for_health(container)
        code_server.switch(location, container)
        served.reload_location(location.name, location.image, None)
    except BaseException:
        # Its runs, too, go on with the code that is served.
        if before:
            restore_tag(location.image, Version(location.tag, before["Id"]))
        code_server.leave_one(location)
        raise
    log(f"{location.name}: the change is served after {time.monotonic() - began:.1f} s")
    code_server.wait_for_calls(location, address)
    code_server.remove_all_but(location, container)
