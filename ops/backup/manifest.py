"""``manifest.json`` in the folder of a backup: what the backup contains, and the checksums of its files."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ops.backup import age
from ops.command import OpsError
from ops.compose import DATABASES

NAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    created: str  # when the snapshots were taken, UTC, ISO 8601
    commit: str  # of the checkout that took it; empty outside git
    dagster: str  # the release that last migrated the instance
    postgres: str  # version of the server
    schema: str  # revision of the instance's schema
    roles: list[str]  # that own objects or have rights in the databases
    volumes: list[str]  # whose files are in <volume>.tar
    files: dict[str, dict[str, Any]]  # size in bytes and SHA-256 of each
    encrypted_for: list[str]  # the public keys; empty if it is not encrypted

    def path(self, folder: Path, name: str) -> Path:
        """The file of this name in the folder of the backup; an encrypted one ends in age's suffix."""
        return folder / (name + (age.SUFFIX if self.encrypted_for else ""))


def describe(path: Path) -> dict[str, Any]:
    """Flushes a file to the disk, and returns its size in bytes and its SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def write(folder: Path, manifest: Manifest) -> None:
    (folder / NAME).write_text(json.dumps({"format": FORMAT, **asdict(manifest)}, indent=2) + "\n")
    to_disk(folder / NAME)


def to_disk(path: Path) -> None:
    """Flushes a file, or the list of the files of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(backup: Path) -> tuple[Path, Manifest]:
    """Checks each file of a backup, given by its folder or any file in it; returns the folder and the manifest."""
    folder = backup.parent if backup.is_file() else backup
    try:
        content = json.loads((folder / NAME).read_text())
        if content.pop("format") != FORMAT:
            raise OpsError(f"{folder / NAME}: not of format {FORMAT}. Restore it with the checkout that wrote it.")
        content.setdefault("encrypted_for", [])  # there was no encryption before
        manifest = Manifest(**{field.name: content[field.name] for field in fields(Manifest)})
    except FileNotFoundError:
        missing = f"{folder}: no backup there, {NAME} is missing."
        raise OpsError(f"{missing} Give BACKUP=<folder that make backup printed>.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise OpsError(f"{folder / NAME} is damaged ({error}). Use another backup.") from None
    wanted = [*(f"{database}.dump" for database in DATABASES), *(f"{volume}.tar" for volume in manifest.volumes)]
    for path in (manifest.path(folder, name) for name in wanted):
        if not path.is_file() or path.name not in manifest.files:
            raise OpsError(f"{path} is missing. Use another backup.")
        if describe(path) != manifest.files[path.name]:
            damage = f"{path} is not what the backup wrote: its size or SHA-256 differs from {NAME}."
            raise OpsError(f"{damage} Nothing was changed. Use another backup, or another copy of this one.")
    return folder, manifest
