"""The secrets that this machine and the stack's volumes have, so that they can be removed from texts."""

import contextlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ops.command import ROOT
from ops.diagnostics.redact import parts
from ops.settings import EXAMPLE, NOT_OURS, given, in_env_files, is_secret

VOLUMES = re.compile(r"_(credentials|secrets|key)$")
SECONDS = 60
# What a file of settings has as a secret, and what users and tokens are stored as.
_SETTING = re.compile(
    r"^[^#\n]*(?:pass|key|secret|token)[\w-]*[ \t]*[=:][ \t]*(\S+)|:(\$\S+)$", re.MULTILINE | re.IGNORECASE
)


def of_machine(access: Path, backup_settings: Path) -> set[str]:
    """The secrets in the env files, in this process's environment, and in the files that settings name."""
    in_files = in_env_files()
    found: set[str] = set()
    for name, value in (*os.environ.items(), *in_files.items()):
        unknown = name in in_files and name not in EXAMPLE and not NOT_OURS.match(name)
        if is_secret(name) or (unknown and value not in EXAMPLE.values()) or (name in EXAMPLE and "@" in value):
            found |= parts(value) | {value}
    settings = given()
    files = [access / settings.get(name, "") for name in ("TLS_KEY_FILE", "OIDC_CLIENT_SECRET_FILE")]
    files += [backup_settings / "key", ROOT / settings.get("BACKUP_KEY_FILE", "")]
    files += [Path(os.environ.get("DAGSTER_TOKEN_FILE", ""))]
    found.update(*(parts(_text(path)) for path in files))
    for path in (access / "access.yaml", access / "users.htpasswd", backup_settings / "pgbackrest.conf"):
        found |= {"".join(groups) for groups in _SETTING.findall(_text(path))}
    return found


def _text(path: Path) -> str:
    """A file's text, or none if there is no such file, or it is the door's alone, as may be the key of TLS."""
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def of_volumes(containers: Iterable[Mapping[str, Any]]) -> tuple[set[str], list[str]]:
    """The secrets in the volumes of these containers, which may have ended, and the volumes that could not be read."""
    places: dict[str, list[tuple[str, str]]] = {}
    for container in containers:
        for mount in container["Mounts"]:
            if mount["Type"] == "volume" and VOLUMES.search(mount["Name"]):
                places.setdefault(mount["Name"], []).append((container["Id"], mount["Destination"]))
    found: set[str] = set()
    unread: list[str] = []
    for volume, where in places.items():
        for container_id, folder in where:
            if (texts := _files(container_id, folder)) is not None:
                found.update(*map(parts, texts))
                break
        else:
            unread.append(volume)
    return found, unread


def _files(container: str, folder: str) -> list[str] | None:
    """The files in a folder of a container; they are in memory only. None if it cannot be read."""
    command = ("docker", "cp", f"{container}:{folder}/.", "-")
    try:
        archive = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            read = [tar.extractfile(member) for member in tar if member.isfile()]
            return [file.read().decode(errors="replace") for file in read if file]
    except (OSError, subprocess.SubprocessError, tarfile.TarError):
        return None
