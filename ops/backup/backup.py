"""Writes a backup of the stack, both databases and the reports, while it goes on: ``make backup``."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ops.backup import manifest
from ops.backup.compose import OperationError, query, run, running, settings
from ops.backup.dumps import dump
from ops.command import ROOT

_PARTIAL = ".partial"


def backup() -> Path:
    """Takes a backup and returns its folder, which is there as a whole or not at all.

    Raises:
        OperationError: the stack's Postgres does not run, or refused; nothing is left behind.
    """
    stack = settings()
    if not running("postgres"):
        raise OperationError(f"Postgres of the stack {stack['name']} does not run. Start the stack: make up.")
    target = ROOT / str(stack["x-backup"]["folder"])
    target.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        # Left by one that was killed: whoever writes holds the lock.
        for left in target.glob(f"*{_PARTIAL}"):
            shutil.rmtree(left)
        created = time.gmtime()
        folder = target / time.strftime("%Y-%m-%dT%H-%M-%SZ", created)
        partial = folder.with_name(folder.name + _PARTIAL)
        partial.mkdir(mode=0o700)
        try:
            moment = dump(partial)
            volumes = list(stack["x-backup"]["volumes"])
            for volume in volumes:
                # After the instance's snapshot: what it says was written is there.
                _pack(f"{stack['name']}_{volume}", stack["services"]["postgres"]["image"], partial / f"{volume}.tar")
            manifest.write(
                partial,
                manifest.Manifest(
                    created=time.strftime("%Y-%m-%dT%H:%M:%SZ", created),
                    project=stack["name"],
                    commit=_commit(),
                    dagster=_dagster_release(stack["services"]["migrate"]["image"]),
                    postgres=query("postgres", "show server_version")[0],
                    schema=moment.schema,
                    in_flight=moment.in_flight,
                    roles=list(moment.roles),
                    seconds_between=moment.seconds_between,
                    volumes=volumes,
                    files={path.name: manifest.describe(path) for path in sorted(partial.iterdir())},
                ),
            )
            partial.rename(folder)
            _to_disk(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return folder


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    with (target / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperationError(f"Another backup into {target} is going on. Wait for its end.") from None
        yield


def _pack(volume: str, image: str, path: Path) -> None:
    with path.open("wb") as file:
        command = (
            "docker",
            "run",
            "--rm",
            "--network",
            "none",
            "--volume",
            f"{volume}:/files:ro",
            "--entrypoint",
            "tar",
        )
        run(*command, image, "--create", "--directory", "/files", ".", stdout=file)


def _dagster_release(image: str) -> str:
    """The release in the image that last migrated the instance; where its container is gone, in the one that would."""
    for container in run("docker", "compose", "ps", "--all", "--quiet", "migrate").split():
        image = run("docker", "inspect", "--format", "{{.Image}}", container).strip()
    code = "import importlib.metadata as m; print(m.version('dagster'))"
    return run("docker", "run", "--rm", "--network", "none", image, "python", "-c", code).strip()


def _commit() -> str:
    try:
        return run("git", "rev-parse", "HEAD").strip()
    except (OperationError, FileNotFoundError):
        return ""


def _to_disk(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if __name__ == "__main__":
    try:
        started = time.monotonic()
        written = backup()
    except OperationError as error:
        sys.exit(f"backup: {error}")
    size = sum(path.stat().st_size for path in written.iterdir())
    print(f"{written}: {size / 1e6:,.1f} MB in {time.monotonic() - started:.0f} s")
