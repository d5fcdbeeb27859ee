"""The folder of a backup, which appears when it is complete."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ops import compose
from ops.backup import age, manifest
from ops.backup.dumps import dump
from ops.command import ROOT, CommandError, OpsError, log, run

_PARTIAL = ".partial"
Pack = Callable[[str, IO[bytes]], None]


def write(stack: dict[str, Any], command: compose.Command, pack: Pack, dagster: str) -> None:
    """Writes a folder with a backup, and prints its name.

    Args:
        stack: has the settings of backups under ``x-backup``.
        command: gives the command line for a program of Postgres, which acts as the superuser.
        pack: writes the files of a volume to a file, as tar does.
        dagster: the release that last migrated the instance.
    """
    # The folder appears only when it is complete; a step that fails leaves nothing behind.
    started = time.monotonic()
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
            dumps = dump(partial, recipients, command)
            volumes = list(stack["x-backup"]["volumes"])
            for volume in volumes:
                # After the snapshot of the instance, so the volume has every file that the instance knows of.
                with age.writing(partial / f"{volume}.tar{suffix}", recipients) as file:
                    pack(volume, file)
            content = manifest.Manifest(
                created=time.strftime("%Y-%m-%dT%H:%M:%SZ", created),
                commit=_commit(),
                dagster=dagster,
                postgres=compose.query("postgres", "show server_version", command)[0],
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


def _commit() -> str:
    try:
        return run("git", "rev-parse", "HEAD").strip()
    except CommandError:
        return ""
