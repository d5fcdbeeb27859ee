"""Replaces the content of the stack by a backup, or by a moment of the archive, and starts the stack."""

import tempfile
from pathlib import Path
from typing import IO, Annotated, Any

from typer import Argument, Option

from ops import compose
from ops.backup import age, manifest, moment
from ops.backup.databases import (
    KNOWN,
    refuse_unless_empty,
    refuse_unless_migratable,
    refuse_unless_roles_exist,
    restore_dumps,
)
from ops.command import CommandError, OpsError, log, run
from ops.compose import query, run_in
from ops.deploy.engine import Engine, On
from ops.kubernetes import backup as in_kubernetes


def restore(
    backup: Annotated[Path | None, Argument(metavar="[BACKUP]", help="Folder of make backup, or a file in it.")] = None,
    to: Annotated[str | None, Option(help="Moment, such as 2026-01-31 12:00; without it the last commit.")] = None,
    force: Annotated[bool, Option("--force", help="Replace the content of a stack that is not empty.")] = False,
    on: On = Engine.COMPOSE,
) -> None:
    """Replace the content of the stack by what is archived, or by a folder of make backup, and start the stack."""
    if on is Engine.KUBERNETES:
        if backup is None or to is not None:
            raise OpsError(
                "In Kubernetes there is no archive of moments. Give BACKUP, a folder of make backup, and no TO."
            )
        in_kubernetes.restore(backup, force)
    elif backup is None:
        _restore_moment(to, force)
    elif to is not None:
        raise OpsError("Give BACKUP or TO, not both: a folder of make backup has one moment only.")
    else:
        _restore_dumps(backup, force)


def _restore_moment(to: str | None, force: bool) -> None:
    target = moment.parse(to) if to is not None else None
    stack = compose.config()
    log("building the images")
    run("docker", "compose", "build")
    starts = moment.find_starts(target)
    if not force:
        try:
            _start_postgres()
        except CommandError as error:
            raise OpsError(
                f"Whether the stack is empty is not known: Postgres does not start. {error}\n"
                "Nothing was changed. To replace what its volume has, give FORCE=1 too."
            ) from None
        refuse_unless_empty(stack["name"])
    _stop_all_but_postgres(stack)
    # Postgres archives the rest of its log before it ends.
    run("docker", "compose", "stop", "postgres")
    run("docker", "compose", "create")
    moment.recover(starts, target)
    _restore_volumes(stack, to_the_end=target is None)
    _start()


def _restore_dumps(backup: Path, force: bool) -> None:
    folder, content = manifest.read(backup)
    log(f"{folder}: complete; of {content.created}, Dagster {content.dagster}, Postgres {content.postgres}")
    stack = compose.config()
    key = age.setting_path(stack, "key")
    if content.encrypted_for:
        age.check_key([folder / name for name in content.files], content.encrypted_for, key)
    _start_postgres()
    if not force:
        refuse_unless_empty(stack["name"])
    log("building the images")
    run("docker", "compose", "build")
    refuse_unless_migratable(content, run_in("migrate", "python", "-c", KNOWN, content.schema))

    _stop_all_but_postgres(stack)
    # Creates networks and volumes, and Postgres with the settings of this checkout.
    run("docker", "compose", "create")
    run("docker", "compose", "up", "--detach", "--wait", "postgres")
    # The roles, with the generated passwords of this stack.
    run_in("migrate", "python", "-m", "services.migrate.apply", "--credentials", "/credentials")
    refuse_unless_roles_exist(content)

    restore_dumps(folder, content, key, query("postgres", "show data_directory")[0])
    for volume in content.volumes:
        with age.reading(content.path(folder, f"{volume}.tar"), key) as tar:
            _unpack(f"{stack['name']}_{volume}", stack["services"]["postgres"]["image"], tar)
    _start()


def _restore_volumes(stack: dict[str, Any], to_the_end: bool) -> None:
    """Writes back what the service ``volume_backups`` kept in Postgres.

    Secrets that there are stay: they are valid outside of the stack, where nothing goes back to a moment. So do files
    that are newer than what was kept: all, if the databases go back to no moment, and those of a volume that was left
    out.
    """
    if "volume_backups" not in stack["services"]:
        return
    image = stack["services"]["postgres"]["image"]
    mounted = {
        one["target"]: f"{stack['name']}_{one['source']}" for one in stack["services"]["volume_backups"]["volumes"]
    }
    kept = compose.run_in("volume_backups", "list").split()
    stale = compose.run_in("volume_backups", "stale").split()
    unreadable = []
    for name in kept:
        volume = mounted.get(f"/volumes/{name}")
        stays = to_the_end or name in stale or name.endswith("_secrets")
        if not volume or (stays and not _is_empty(volume, image)):
            continue
        log(f"restoring {name}")
        with tempfile.TemporaryFile() as tar:
            try:
                compose.run_in("volume_backups", "read", name, stdout=tar)
            except CommandError as error:
                unreadable.append(f"{name}: {error}")
                continue
            tar.seek(0)
            _unpack(volume, image, tar)
    if unreadable:
        raise OpsError(
            "\n".join(["Both databases are restored, and these volumes cannot be read:", *unreadable])
            + "\nThey were kept with another key than that of BACKUP_SETTINGS_DIR. With the right one, give the same "
            "command with FORCE=1; or continue without them: make up."
        )


def _is_empty(volume: str, image: str) -> bool:
    mounted = ("--network", "none", "--volume", f"{volume}:/files:ro", "--entrypoint", "ls")
    return not run("docker", "run", "--rm", *mounted, image, "-A", "/files").strip()


def _start_postgres() -> None:
    if not compose.is_running("postgres"):
        # An empty volume gets a cluster of POSTGRES_IMAGE, not of the image that was built before.
        run("docker", "compose", "up", "--detach", "--wait", "--build", "postgres")


def _stop_all_but_postgres(stack: dict[str, Any]) -> None:
    services = [service for service in stack["services"] if service != "postgres"]
    log("stopping " + ", ".join(services))
    run("docker", "compose", "stop", *services)
    # A run that continues would write events into the restored history.
    if runs := run("docker", "ps", "--all", "--quiet", "--filter", f"label=project={stack['name']}").split():
        run("docker", "rm", "--force", *runs)


def _start() -> None:
    log("migrating the instance and starting the stack")
    try:
        run("docker", "compose", "up", "--detach", "--wait")
    except CommandError as error:
        raise OpsError(f"Everything is restored, but not every service started: make up. {error}") from None
    log("Restored. Runs that were in progress are marked as failed and launched again within a minute or so.")


def _unpack(volume: str, image: str, tar: IO[bytes]) -> None:
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--volume", f"{volume}:/files"]
    script = "find /files -mindepth 1 -delete && tar --extract --directory /files"
    run(*command, "--entrypoint", "sh", image, "-c", script, stdin=tar)
