"""One archive to attach to a bug report, without secrets: `make diagnostics`. It works while parts are down."""

import io
import os
import tarfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from typer import Option

from ops import compose
from ops.command import ROOT, inspect, log
from ops.diagnostics import collect, secrets
from ops.diagnostics.redact import Redactor
from ops.settings import EXAMPLE, given
from ops.status.docker import containers

T = TypeVar("T")


def diagnostics(folder: Annotated[Path, Option(help="Where the archive is written.")] = ROOT) -> None:
    """Write versions, settings, states and the last lines of all logs into an archive, without secrets."""
    texts, redactor = gather()
    path = folder / f"diagnostics-{time.strftime('%Y-%m-%dT%H-%M-%SZ', time.gmtime())}.tar.gz"
    write(path, texts, redactor)
    log(f"{path} is written, with {len(texts)} files. Known secrets are removed; read it before you give it away.")


def gather() -> tuple[dict[str, str], Redactor]:
    """The texts by file name, with what removes secrets from them. Whatever fails is in not_collected.txt."""
    texts: dict[str, str] = {}
    failed: list[str] = []

    def get(what: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except Exception as error:  # whatever is wrong with one part, the others are collected
            failed.append(f"{what}: {error}")
            return None

    settings = {**EXAMPLE, **given()}
    config = get("compose.json", compose.config)
    project = config["name"] if config else settings["COMPOSE_PROJECT_NAME"]
    found = get("containers", lambda: containers(project)) or []
    found += get("containers of runs", lambda: collect.of_runs(project)) or []
    stored, unread = secrets.of_volumes(found)
    # The stack keeps the folders of its first start.
    folders = {"access": ROOT / settings["ACCESS_DIR"], "backup_settings": ROOT / settings["BACKUP_SETTINGS_DIR"]}
    for volume in folders if found else ():
        if there := get(volume, partial(inspect, "volume", f"{project}_{volume}")):
            folders[volume] = Path(there["Options"]["device"])
    redactor = Redactor(stored | secrets.of_machine(folders["access"], folders["backup_settings"]))

    parts = {"versions.txt": collect.versions, "doctor.txt": collect.doctor, "settings.txt": collect.settings}
    parts["containers.json"] = lambda: collect.states(found)
    if config:
        parts["compose.json"] = lambda: collect.compose_config(config)
    if unread:
        failed.append(f"logs, status, failed runs: they may have secrets of {', '.join(unread)}, which cannot be read")
    else:
        if both := get("status.json", collect.status):
            texts["status.json"], texts["failed_runs.json"] = both
        for one in found:
            parts[f"logs/{one['Name'].lstrip('/')}.log"] = partial(collect.log_of, one["Id"])
    for name, make in parts.items():
        if (text := get(name, make)) is not None:
            texts[name] = text
    texts["not_collected.txt"] = "\n".join(failed)
    return texts, redactor


def write(path: Path, texts: Mapping[str, str], redactor: Redactor) -> None:
    """Writes an archive that only its owner may read; every text and name goes through ``redactor``."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in texts.items():
            content = redactor.clean(text).encode()
            member = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{redactor.clean(name)}")
            member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
            archive.addfile(member, io.BytesIO(content))
