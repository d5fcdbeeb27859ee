"""Deploys one location, and rolls it back."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from typer import Option

from ops import compose
from ops.command import SIGNALS, OpsError, inspect, interrupt_on_signals, log, run
from ops.contract import served
from ops.contract.compare import Asset
from ops.deploy import code_server, policy, records
from ops.deploy.attempt import Attempt
from ops.deploy.comparison import compare as compare_with_others
from ops.deploy.engine import Engine, On, who
from ops.deploy.image import build, describe, prune, restore_tag, source_tag, start_seconds, try_image, wait_for_health
from ops.deploy.ledger import Ledger, locked
from ops.deploy.records import Version
from ops.env_file import env_file, set_variable
from ops.kubernetes import deploy as in_kubernetes
from ops.locations import Location, LocationArgument, check_exists, read_location, tag_variable

Force = Annotated[bool, Option("--force", help="Deploy although the contract with another location breaks.")]


def deploy(
    location: LocationArgument,
    tag: Annotated[str | None, Option(help="Tag of an existing image. Without it, the folder is built.")] = None,
    force: Force = False,
    on: On = Engine.COMPOSE,
) -> None:
    """Replace one location's code server by a new version, verified beside the old one, which serves until then."""
    if tag == "":
        raise OpsError("TAG is given and empty. Give the tag of an image, or leave TAG out to build one.")
    check_exists("LOCATION", location)
    if on is Engine.KUBERNETES:
        interrupt_on_signals()
        in_kubernetes.deploy(location, tag, force, who())
        return
    new = read_location(location, source_tag(location) if tag is None else tag)
    with lock(new, who()) as ledger:
        if tag is None:
            log(f"{new.image}: building")
            build(new)
        elif inspect("image", new.image) is None:
            raise OpsError(f"There is no image {new.image} here. Leave TAG out to build one, or load it first.")
        _ship(new, ledger, "deploy", None, force)


def rollback(location: LocationArgument, force: Force = False, on: On = Engine.COMPOSE) -> None:
    """Go back to a location's previous good version; a second rollback goes to the one before that."""
    if on is Engine.KUBERNETES:
        interrupt_on_signals()
        in_kubernetes.rollback(location, force, who())
        return
    here = read_location(location, "local")
    with lock(here, who()) as ledger:
        target = records.rollback_target(ledger.read(), _running(here))
        if target is None:
            raise OpsError(f"{location}: there is no good version before the one that runs. See `make deployments`.")
        _ship(read_location(location, target.tag), ledger, "rollback", target, force)


def _ship(location: Location, ledger: Ledger, action: str, target: Version | None, force: bool) -> None:
    code_server.leave_one(location)
    # _running is None if all there is is the container of a first deploy that was interrupted.
    attempt = Attempt(ledger, location.name, action, Version(location.tag, ""), who(), _running(location))
    with attempt.trial():
        if target:
            restore_tag(location.image, target)
        image = inspect("image", location.image)
        if image is None:
            raise OpsError(f"There is no image {location.image} any more. Check its commit out and deploy that.")
        attempt.record = dataclasses.replace(attempt.record, version=Version(location.tag, image["Id"]))
        log(f"{location.image}: trying it in containers of its own")
        known = served.read_entries()
        # Tag and image: a commit that changes only the tests makes the same image under a new tag.
        passed = any((one.result, one.version) == (records.DEPLOYED, attempt.record.version) for one in attempt.past)
        assets = try_image(location, passed)
        note = compare_with_others(location.name, known, assets, force)
        if location.name not in known:
            log(f"{location.name}: new to this stack; making its role, its gateway and its entry in the workspace")
            _prepare(location.name)

    def compare(in_its_place: list[Asset]) -> None:
        # The partitions may be more by a day.
        if in_its_place != assets:
            compare_with_others(location.name, known, in_its_place, force)

    address = code_server.serving_address(location)
    deployed = False
    try:
        attempt.add(records.REPLACING)
        container = _replace(location, compare)
        with _uninterrupted():
            attempt.add(records.DEPLOYED, note)
            deployed = True
            code_server.remove_all_but(location, container)
            _remember(location)
    except BaseException as error:
        if deployed:
            raise
        again = f"make rollback LOCATION={location.name}"
        attempt.put_back(error, lambda: _serve_previous(location, attempt, known, address), again)
    log(f"{location.image}: deployed")
    prune(location, ledger.read())


def _replace(location: Location, compare: Callable[[list[Asset]], None], without: Sequence[str] = ()) -> str:
    """Starts a container of a location's code server beside the one that serves, and has it serve once it is verified.

    Returns its id when no call goes to the one that served any more. The run policy is recorded before: the first run
    of the new code server finds its image there. The images of ``without`` leave the policy.
    """
    policy.record(location, without)
    log(f"{location.image}: starting it beside the code server that serves")
    container = code_server.start_beside(location)
    server_id = wait_for_health(container)
    assets = describe(location, "docker", "exec", "--interactive", container)
    compare(assets)
    before = code_server.serving_address(location)
    log(f"{location.image}: verified; the gateway switches to it")
    code_server.switch(location, container)
    switched = time.monotonic()
    served.reload_location(location.name, location.image, {str(asset["key"]) for asset in assets})
    log(f"{location.image}: the webserver serves it, {time.monotonic() - switched:.1f} s after the switch")
    # The daemon finds a new location within a minute.
    if before:
        if code_server.wait_for_daemon(location, server_id):
            log(f"{location.image}: the daemon has loaded it, {time.monotonic() - switched:.1f} s after the switch")
        code_server.wait_for_calls(location, before)
    return container


def _serve_previous(location: Location, attempt: Attempt, known: dict[str, served.Entry], address: str) -> str:
    """Has the version before the attempt serve again, and returns what runs then.

    The code server at ``address``, the one that served before, has not been stopped.
    """
    previous = attempt.record.previous
    if previous is None:
        code_server.remove_all_but(location)
        policy.remove(location.name, compose.config())
        return f"{location.name} does not run, as before"
    before = read_location(location.name, previous.tag)
    restore_tag(before.image, previous)
    deployed = {past.version.tag for past in attempt.past if past.result == records.DEPLOYED}
    refused = [] if location.tag in deployed else [location.image]
    _serve_again(before, previous, address, known, refused)
    return f"{before.image} runs as before"


def _serve_again(
    location: Location, version: Version, address: str, known: dict[str, served.Entry], refused: Sequence[str]
) -> None:
    """Has a version serve again: from the container that never stopped, or from a new one where there is none."""
    for container in code_server.containers(location):
        if code_server.is_at(location, container, address) and _version(container) == version:
            serving = code_server.serving_address(location)
            if serving != address:
                code_server.switch_to(location, address)
                keys = {str(asset["key"]) for asset in served.describe_served({location.name: known[location.name]})}
                served.reload_location(location.name, location.image, keys or None)
                code_server.wait_for_calls(location, serving)
            code_server.remove_all_but(location, container["Id"])
            policy.record(location, refused)
            return
    code_server.remove_all_but(location, _replace(location, lambda assets: None, refused))


def _prepare(name: str) -> None:
    """Makes the role, gateway and workspace entry of a new location, and registers it with the webserver; idempotent.

    Of the platform only volume_backups and the one-shots are recreated: the webserver reads the workspace file again,
    and so does the daemon every minute.
    """
    compose.build_one_shots()
    # Its role, grants, password and volume.
    compose.run_once("migrate")
    run("docker", "compose", "up", "--detach", "--no-deps", "--no-build", "--wait", f"{name}_gateway")
    compose.run_once("workspace")
    # It mounts the new location's secrets.
    run("docker", "compose", "up", "--detach", "--no-deps", "--no-build", "volume_backups")
    if name not in served.reload_workspace():
        raise OpsError(f"The webserver does not know {name}: workspace.yaml does not list it. Add it as the others.")


def _remember(location: Location) -> None:
    """Makes a later `docker compose up` in this clone use this tag."""
    variable = tag_variable(location.name)
    try:
        set_variable(env_file(), variable, location.tag)
    except OSError as error:
        what = f"{location.image} is deployed, but {env_file()} could not be written ({error})."
        step = f"Write {variable}={location.tag} there, or the next `docker compose up` goes back."
        raise OpsError(f"{what} {step}") from error
    if os.environ.get(variable, location.tag) != location.tag:
        log(f"{variable}={os.environ[variable]} in this environment overrides {env_file().name}; unset it")


def _running(location: Location) -> Version | None:
    found = code_server.containers(location)
    return _version(found[-1]) if found else None


def _version(container: dict[str, Any]) -> Version:
    return Version(container["Config"]["Image"].rpartition(":")[2], container["Image"])


@contextmanager
def lock(location: Location, by: str) -> Iterator[Ledger]:
    """Locks a location for this process, which a signal then ends by an exception.

    ``by`` is whom the error of another deploy names. Raises OpsError if somebody else has the lock.
    """
    start_seconds()  # a wrong value is reported before anything is done
    with locked(location.project, location.name, location.toolbox, by) as ledger:
        interrupt_on_signals()
        yield ledger


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delays signals while history and settings are brought to the same state."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
