"""Rehearses an upgrade: a backup is restored into a throwaway server of the new versions, migrated, and verified.

The new versions are those of this checkout and of POSTGRES_IMAGE. Their images get a tag of their own, and the server
has no network, so the running stack does not notice.
"""

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from ops import compose
from ops.backup import age, manifest
from ops.backup.databases import KNOWN, refuse_unless_migratable, refuse_unless_roles_exist, restore_dumps
from ops.command import ROOT, CommandError, OpsError, inspect, log, run

_START_SECONDS = 600
_SOCKET = "/var/run/postgresql"
_DATA = "/var/lib/postgresql/rehearsal"
# Whether the tool of the repository of backups knows this version of Postgres.
_ARCHIVABLE = ("pgbackrest", "stanza-create", "--no-config", "--stanza=main", "--repo1-path=/tmp/repository")


class _Server:
    """The throwaway server: a container of the new image, whose socket is in a volume."""

    def __init__(self, name: str, migrate_image: str) -> None:
        self.name = name
        self._migrate_image = migrate_image

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command in the server's container, as the superuser."""
        user = ("--user", "postgres", "--env", "PGUSER=postgres", "--env", f"PGHOST={_SOCKET}")
        return ["docker", "exec", "--interactive", *user, self.name, *command]

    def in_migrate(self, *command: str) -> str:
        """Runs a command in a container of the image of the service migrate, which reaches the server."""
        env = ("--env", "PGUSER=postgres", "--env", f"PGHOST={_SOCKET}", "--volume", f"{self.name}:{_SOCKET}")
        return run("docker", "run", "--rm", "--network", "none", *env, self._migrate_image, *command)


def rehearse_upgrade(
    backup: Annotated[Path | None, Argument(metavar="[BACKUP]", help="Folder of make backup; else its newest.")] = None,
) -> None:
    """Restore a backup into a throwaway server of this checkout's versions and of POSTGRES_IMAGE, and verify it."""
    stack = compose.config()
    folder, content = manifest.read(backup or _newest(stack))
    key = age.setting_path(stack, "key")
    if content.encrypted_for:
        age.check_key([folder / name for name in content.files], content.encrypted_for, key)
    tag = {"PLATFORM_TAG": f"{stack['name']}-rehearsal"}
    log("building the images")
    run("docker", "compose", "build", "postgres", "migrate", env=tag)
    services = compose.config(tag)["services"]
    try:
        with _server(stack, services) as server:
            found = _rehearse(server, folder, content, key)
    finally:
        run("docker", "image", "rm", *(services[name]["image"] for name in ("postgres", "migrate")))
    if found:
        raise OpsError("\n".join(["The upgrade would not work. The running stack was not touched.", *found]))
    log("Nothing is wrong. The running stack was not touched. docs/upgrading.md has the upgrade and the way back.")


def _newest(stack: dict[str, Any]) -> Path:
    target = ROOT / str(stack["x-backup"]["folder"])
    if folders := sorted(path.parent for path in target.glob(f"*/{manifest.NAME}")):
        return folders[-1]
    raise OpsError(f"{target} has no backup. Run make backup first, or give BACKUP=<a folder that it printed>.")


def _rehearse(server: _Server, folder: Path, content: manifest.Manifest, key: Path | None) -> list[str]:
    """Restores, migrates and verifies; returns what is wrong."""
    version = compose.query("postgres", "show server_version", server.command)[0]
    release, _ = (known := server.in_migrate("python", "-c", KNOWN, content.schema)).split()
    log(f"{folder}: of {content.created}, Postgres {content.postgres} and Dagster {content.dagster}")
    log(f"rehearsing with Postgres {version} and Dagster {release}")
    refuse_unless_migratable(content, known, server.command)
    began = time.monotonic()
    server.in_migrate("python", "-m", "services.migrate.apply")
    refuse_unless_roles_exist(content, server.command)
    restore_dumps(folder, content, key, "/tmp", server.command)
    restored = time.monotonic()
    server.in_migrate("sh", "services/migrate/migrate.sh")
    migrated = time.monotonic()
    found = run(*server.command("backups", "verify")).splitlines()
    where = (f"--pg1-path={_DATA}", f"--pg1-socket-path={_SOCKET}", "--pg1-user=postgres")
    try:
        run(*server.command(*_ARCHIVABLE, *where))
    except CommandError as error:
        found.append(f"The repository of backups cannot have this Postgres: {error}")
    seconds = f"restored in {restored - began:.0f} s, migrated in {migrated - restored:.0f} s"
    log(f"{seconds}, verified in {time.monotonic() - migrated:.0f} s")
    return found


@contextlib.contextmanager
def _server(stack: dict[str, Any], services: dict[str, Any]) -> Iterator[_Server]:
    """Starts the server, with the settings of the stack's Postgres but for those of the archive, and removes it."""
    name = f"{stack['name']}-rehearsal"
    postgres = services["postgres"]
    settings = [part for part in postgres["command"][1:] if not part.startswith("--archive")]
    # Over TCP it answers only once it has initialized its folder, which it does on the socket.
    settings.append("--listen_addresses=127.0.0.1")
    env = {"PGDATA": _DATA, "POSTGRES_PASSWORD": secrets.token_hex(24)}
    env["POSTGRES_INITDB_ARGS"] = postgres["environment"]["POSTGRES_INITDB_ARGS"]
    variables = [f"--env={variable}={value}" for variable, value in env.items()]
    _remove(name)
    start = ["docker", "run", "--detach", "--name", name, "--network", "none", "--shm-size", str(postgres["shm_size"])]
    # The running stack is on the same machine.
    start += ["--memory", str(postgres["mem_limit"]), "--cpus", "1", "--pids-limit", "512"]
    volume = ("--volume", f"{name}:{_SOCKET}")
    try:
        run(*start, *volume, *variables, "--entrypoint=docker-entrypoint.sh", postgres["image"], "postgres", *settings)
        server = _Server(name, services["migrate"]["image"])
        _wait(server)
        yield server
    finally:
        _remove(name)


def _wait(server: _Server) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            run(*server.command("pg_isready", "--host=127.0.0.1"))
            return
        except CommandError:
            container = inspect("container", server.name)
            if time.monotonic() > end or container is None or not container["State"]["Running"]:
                said = run("docker", "logs", "--tail", "5", server.name)
                raise OpsError(f"The new Postgres does not start. The running stack was not touched. {said}") from None
        time.sleep(0.5)


def _remove(name: str) -> None:
    """Removes what a rehearsal, also one that was killed, has made."""
    if inspect("container", name):
        run("docker", "rm", "--force", "--volumes", name)
    if inspect("volume", name):
        run("docker", "volume", "rm", name)
