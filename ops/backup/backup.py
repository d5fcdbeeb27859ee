"""Writes a backup of the running stack: both databases and the reports."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ops import compose
from ops.backup import age, manifest
from ops.backup.dumps import dump
from ops.command import ROOT, CommandError, OpsError, log, run

_PARTIAL = ".partial"


def backup() -> None:
    """Back up both databases and the reports of the running stack into BACKUP_DIR."""
    # The folder appears only when it is complete; a step that fails leaves nothing behind.
    started = time.monotonic()
    stack = compose.config()
    if not compose.is_running("postgres"):
        raise OpsError(f"Postgres of the stack {stack['name']} does not run. Start the stack: make up.")
    recipients = age.setting_path(stack, "recipients")
    encrypted_for = age.read_recipients(recipients) if recipients else []
    target = ROOT / str(stack["x-backup"]["folder"])
    # Only the owner has access: files 0600, folders 0700.
    os.umask(0o077)
    target.mkdir(parents=True, exist_ok=True)
    if mode := target.stat().st_mode & 0o077:
        log(f"{target} is open to other users of this machine (mode {0o700 | mode:04o}). Close it: chmod 700 {target}")
    with _alone(target):
        # Left by a backup that was killed, since a running one holds the lock.
        for left in target.glob(f"*{_PARTIAL}"):
            shutil.rmtree(left)
        created = time.gmtime()
        folder = target / time.strftime("%Y-%m-%dT%H-%M-%SZ", created)
        partial = folder.with_name(folder.name + _PARTIAL)
        partial.mkdir()
        try:
            suffix = age.SUFFIX if recipients else ""
            dumps = dump(partial, recipients)
            volumes = list(stack["x-backup"]["volumes"])
            for volume in volumes:
                # After the snapshot of the instance, so the volume has every file that the instance knows of.
                with age.writing(partial / f"{volume}.tar{suffix}", recipients) as file:
                    pack(f"{stack['name']}_{volume}", stack["services"]["postgres"]["image"], file)
            content = manifest.Manifest(
                created=time.strftime("%Y-%m-%dT%H:%M:%SZ", created),
                commit=_commit(),
                dagster=_dagster_release(stack["services"]["migrate"]["image"]),
                postgres=compose.query("postgres", "show server_version")[0],
                **dumps,
                volumes=volumes,
                files={path.name: manifest.describe(path) for path in sorted(partial.iterdir())},
                encrypted_for=encrypted_for,
            )
            manifest.write(partial, content)
            partial.rename(folder)
            manifest.to_disk(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:,.1f} MB in {time.monotonic() - started:.0f} s")


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    with (target / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OpsError(f"Another backup into {target} is running. Wait for its end.") from None
        yield


def pack(volume: str, image: str, file: IO[bytes]) -> None:
    """Writes the files of a volume to a file, as tar does; ``image`` has a shell and GNU tar.

    Runs may write to the volume meanwhile: tar then ends with status 1, and stores each file as it was read. Holes of
    sparse files are not stored: such a file may be larger than the disk.
    """
    start = ("docker", "run", "--rm", "--network", "none", "--volume", f"{volume}:/files:ro", "--entrypoint", "sh")
    script = "tar --create --sparse --directory /files . || [ $? = 1 ]"
    run(*start, image, "-c", script, stdout=file)


def _dagster_release(image: str) -> str:
    """The release that last migrated the instance; if the container that did is gone, the release in this image."""
    for container in run("docker", "compose", "ps", "--all", "--quiet", "migrate").split():
        image = run("docker", "inspect", "--format", "{{.Image}}", container).strip()
    code = "import importlib.metadata as m; print(m.version('dagster'))"
    return run("docker", "run", "--rm", "--network", "none", image, "python", "-c", code).strip()


def _commit() -> str:
    try:
        return run("git", "rev-parse", "HEAD").strip()
    except CommandError:
        return ""
