"""Deploys of one location, and the way back."""

import dataclasses
import getpass
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from ops.command import CommandError, inspect, run
from ops.contract.compare import Asset
from ops.deploy import history, webserver
from ops.deploy.env_file import set_variable
from ops.deploy.guard import new_breaches
from ops.deploy.history import Record, Version
from ops.deploy.ledger import Ledger, locked
from ops.deploy.location import Location, env_file, read_location, tag_variable
from ops.deploy.prune import prune
from ops.deploy.tags import source_tag
from ops.deploy.trial import TrialError, build, start_seconds, try_image, wait_for_health
from ops.location.stack import prepare


class DeployError(RuntimeError):
    """A deploy came to nothing; the message says why and what runs now."""


class Interrupted(BaseException):
    """Someone wants this process to end."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What may be wrong with an image, with the engine or with our patience.
_TROUBLE = (CommandError, TrialError, webserver.WebserverError, Interrupted, KeyboardInterrupt)


def deploy(name: str, tag: str, force: bool) -> None:
    """Ships a location: builds, tries, compares, replaces, verifies; puts the previous version back where it fails.

    Args:
        name: the location.
        tag: tag of an image that is there already; empty builds one from the location's folder.
        force: go on although the contract with another location breaks.

    Raises:
        DeployError: the new version does not run.
    """
    location = read_location(name, tag or source_tag(name))
    with _locked(location) as ledger:
        if tag and inspect("image", location.image) is None:
            raise DeployError(f"There is no image {location.image} here. Leave TAG out to build one, or load it first.")
        if not tag:
            _say(f"{location.image}: building")
            build(location)
        _ship(location, ledger, "deploy", None, force)


def rollback(name: str, force: bool) -> None:
    """Goes back to the good version before the one that runs; again, to the one before that.

    Raises:
        DeployError: there is none, or it does not run.
    """
    with _locked(read_location(name, "local")) as ledger:
        records = ledger.read()
        target = history.rollback_target(records, _running(name))
        if target is None:
            raise DeployError(
                f"{name}: there is no good version before the one that runs. `make deployments` lists all."
            )
        _ship(read_location(name, target.tag), ledger, "rollback", target, force)


def _ship(location: Location, ledger: Ledger, action: str, target: Version | None, force: bool) -> None:
    records = ledger.read()
    if history.unverified(records):
        _say("the deploy before this one did not end well; what runs is taken as unverified")
    # The container of a first deploy that was interrupted: there is nothing to put back.
    previous = history.before_deploy(records, _running(location.name))
    record = _record(location, action, previous)
    deployed = False
    try:
        if target:
            _restore_name(location.image, target)
        image = inspect("image", location.image)
        if image is None:
            raise TrialError(f"There is no image {location.image} any more. Check its commit out and deploy that.")
        record = dataclasses.replace(record, version=Version(location.tag, image["Id"]))
        _say(f"{location.image}: trying it in containers of its own")
        known = webserver.entries()
        assets = try_image(location)
        note = _compare(location, known, assets, force)
        if location.name not in known:
            _say(f"{location.name}: new to this stack; making its role, its gateway and its entry in the workspace")
            prepare(location.name)
    except _TROUBLE as error:
        ledger.append(_ended(record, history.REFUSED, _reason(error)))
        raise DeployError(f"{_reason(error)}\n{location.name}: refused; nothing was touched.") from error

    try:
        ledger.append(record)
        _replace(location, {webserver.key_of(asset) for asset in assets})
        with _uninterrupted():
            ledger.append(_ended(record, history.DEPLOYED, note))
            deployed = True
            _remember(location)
    except BaseException as error:
        if deployed:
            raise
        _put_back(location, ledger, record, known, _reason(error))
    _say(f"{location.image}: deployed")
    _tidy(location, ledger)


def _compare(location: Location, known: dict[str, Any], assets: list[Asset], force: bool) -> str:
    """Compares what the locations need of each other, with this image instead of what runs.

    Returns:
        What there is to note about it.

    Raises:
        TrialError: something would break that does not today.
    """
    now, unknown = webserver.served(known)
    new = new_breaches(location.name, now, assets, unknown)
    notes = [f"not compared with {name}, which does not load" for name in unknown if name != location.name]
    if new and not force:
        raise TrialError(
            "It would break the contract between the locations:\n" + "\n".join(f"  {breach}" for breach in new)
        )
    notes += [f"forced: {breach}" for breach in new]
    for note in notes:
        _say(note)
    return "; ".join(notes)


def _replace(location: Location, keys: set[str] | None) -> None:
    """Runs a location's code server on this image and nothing else anew, and makes sure that it is what is loaded."""
    began = time.monotonic()
    _say(f"{location.image}: replacing the code server")
    # Not `up --no-deps`: compose notes the service without what it depends on, and the next `up` would take that for a
    # change, make the container anew, and with it webserver and daemon.
    run("docker", "compose", "rm", "--stop", "--force", location.name, env=location.tag_setting)
    run("docker", "compose", "create", "--no-recreate", "--no-build", location.name, env=location.tag_setting)
    container = _container(location.name)
    if container is None:
        raise TrialError(f"compose made no container of {location.name}")
    run("docker", "start", container)
    wait_for_health(container)
    _say(f"{location.image}: serving {time.monotonic() - began:.1f} s after the replacement began")
    webserver.reload(location.name, location.image, keys)


def _put_back(location: Location, ledger: Ledger, record: Record, known: dict[str, Any], reason: str) -> None:
    """Ends a deploy that failed after the container was touched.

    Raises:
        DeployError: always.
    """
    _say(f"{reason}\n{location.name}: putting the previous version back")
    previous = record.previous
    try:
        if previous is None:
            run("docker", "compose", "rm", "--stop", "--force", location.name, env=location.tag_setting)
            now = f"{location.name} does not run, as before"
        else:
            before = read_location(location.name, previous.tag)
            _restore_name(before.image, previous)
            was, _ = webserver.served({location.name: known[location.name]})
            _replace(before, {webserver.key_of(asset) for asset in was} or None)
            now = f"{before.image} runs again"
    except _TROUBLE as error:
        reason += f"\nThe previous version could not be put back: {_reason(error)}"
        ledger.append(_ended(record, history.FAILED, reason))
        raise DeployError(
            f"{reason}\n{location.name}: failed. `make rollback LOCATION={location.name}` tries again."
        ) from error
    ledger.append(_ended(record, history.RESTORED, reason))
    raise DeployError(f"{reason}\n{location.name}: not deployed; {now}.")


def _restore_name(image: str, version: Version) -> None:
    """Makes a tag mean what it meant when it was deployed: `docker compose up --build` builds over the tag in use."""
    there = inspect("image", image)
    if (there is None or there["Id"] != version.image) and inspect("image", version.image):
        run("docker", "image", "tag", version.image, image)


def _remember(location: Location) -> None:
    """Makes a later `docker compose up` in this clone use this tag, too."""
    variable = tag_variable(location.name)
    try:
        set_variable(env_file(), variable, location.tag)
    except OSError as error:
        raise DeployError(
            f"{location.image} is deployed, but {env_file()} could not be written ({error}). Write "
            f"{variable}={location.tag} there, or the next `docker compose up` goes back."
        ) from error
    if os.environ.get(variable, location.tag) != location.tag:
        _say(f"{variable}={os.environ[variable]} in this environment goes before {env_file().name}; unset it")


def _tidy(location: Location, ledger: Ledger) -> None:
    try:
        gone = prune(location, ledger.read())
    except CommandError as error:
        _say(f"old images were not looked for: {error}")
    else:
        if gone:
            _say(f"{location.name}: images that nobody needs removed: {', '.join(gone)}")


def _running(name: str) -> Version | None:
    """What a location's container was made of, running or not."""
    container = _container(name)
    described = inspect("container", container) if container else None
    if described is None:
        return None
    return Version(described["Config"]["Image"].rpartition(":")[2], described["Image"])


def _container(name: str) -> str | None:
    """The container of a location; of two, which an interrupted replacement may leave, the one that was made last."""
    containers = [inspect("container", found) for found in run("docker", "compose", "ps", "-aq", name).split()]
    return max(((found["Created"], found["Id"]) for found in containers if found), default=("", None))[1]


def _record(location: Location, action: str, previous: Version | None) -> Record:
    return Record(
        attempt=secrets.token_hex(4),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        location=location.name,
        action=action,
        version=Version(location.tag, ""),
        by=_who(),
        result=history.REPLACING,
        previous=previous,
    )


def _ended(record: Record, result: str, reason: str) -> Record:
    return dataclasses.replace(record, result=result, reason=reason)


def _reason(error: BaseException) -> str:
    return str(error) or "interrupted"


def _who() -> str:
    return os.environ.get("DEPLOYED_BY") or f"{getpass.getuser()}@{socket.gethostname()}"


def _say(what: str) -> None:
    print(what, flush=True)


@contextmanager
def _locked(location: Location) -> Iterator[Ledger]:
    start_seconds()  # a wrong one is told before anything is done
    with locked(location.project, location.name, location.toolbox, _who()) as ledger, _interruptible():
        yield ledger


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keeps a signal waiting for the moment in which history and settings come to say the same."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Makes the signals that end a CI job an exception, so that what was begun is put right."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"interrupted by {signal.Signals(number).name}")

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
