"""Replaces the content of the stack by a backup, or by a moment of the archive, and starts the stack."""

from pathlib import Path
from typing import IO, Annotated, Any

from typer import Argument, Option

from ops import compose
from ops.backup import age, manifest, moment
from ops.backup.fill import fill
from ops.command import CommandError, OpsError, log, run
from ops.compose import DATABASES, in_postgres, query, run_in

_RESTORING = "{}_restoring"
_REPLACED = "{}_replaced"
_CONTENT = """
select count(*), pg_size_pretty(coalesce(sum(pg_total_relation_size(c.oid)), 0))
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where relkind in ('r', 'p', 'm', 'v') and nspname !~ '^pg_' and nspname <> 'information_schema'
"""
# Whether the Dagster of this checkout knows a revision of the instance's schema.
_KNOWN = """
import sys, dagster
from alembic.script import ScriptDirectory
from dagster_postgres.run_storage import run_storage
from dagster_postgres.utils import pg_alembic_config
scripts = ScriptDirectory.from_config(pg_alembic_config(run_storage.__file__))
print(dagster.__version__, sys.argv[1] in {script.revision for script in scripts.walk_revisions()})
"""


def restore(
    backup: Annotated[Path | None, Argument(metavar="[BACKUP]", help="Folder of make backup, or a file in it.")] = None,
    to: Annotated[str | None, Option(help="Moment, such as 2026-01-31 12:00; without it the last commit.")] = None,
    force: Annotated[bool, Option("--force", help="Replace the content of a stack that is not empty.")] = False,
) -> None:
    """Replace the content of the stack by what is archived, or by a folder of make backup, and start the stack."""
    if backup is None:
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
    start = moment.find_start(target)
    log(f"restoring from the backup {start.label} to {target or 'the last commit that is archived'}")
    if not force:
        try:
            _start_postgres()
        except CommandError as error:
            raise OpsError(
                f"Whether the stack is empty is not known: Postgres does not start. {error}\n"
                "Nothing was changed. To replace what its volume has, give FORCE=1 too."
            ) from None
        _refuse_unless_empty(stack["name"])
    _stop_all_but_postgres(stack)
    # Postgres archives the rest of its log before it ends.
    run("docker", "compose", "stop", "postgres")
    run("docker", "compose", "create")
    moment.recover(start, target)
    _start()


def _restore_dumps(backup: Path, force: bool) -> None:
    # Both databases are restored under new names, and then swapped with the existing ones in a single transaction. An
    # interrupted restore leaves all of the old or all of the new content, and can be repeated.
    folder, content = manifest.read(backup)
    log(f"{folder}: complete; of {content.created}, Dagster {content.dagster}, Postgres {content.postgres}")
    stack = compose.config()
    key = age.setting_path(stack, "key")
    if content.encrypted_for:
        age.check_key([folder / name for name in content.files], content.encrypted_for, key)
    _start_postgres()
    if not force:
        _refuse_unless_empty(stack["name"])
    log("building the images")
    run("docker", "compose", "build")
    _refuse_unless_migratable(content)

    _stop_all_but_postgres(stack)
    # Creates networks and volumes, and Postgres with the settings of this checkout.
    run("docker", "compose", "create")
    run("docker", "compose", "up", "--detach", "--wait", "postgres")
    # The roles, with the generated passwords of this stack.
    run_in("migrate", "python", "-m", "services.migrate.apply", "--credentials", "/credentials")
    _refuse_unless_roles_exist(content)

    for database in DATABASES:
        log(f"restoring {database}")
        with age.reading(content.path(folder, f"{database}.dump"), key) as dump:
            _restore_beside(database, dump)
    _swap()
    for volume in content.volumes:
        with age.reading(content.path(folder, f"{volume}.tar"), key) as tar:
            _unpack(f"{stack['name']}_{volume}", stack["services"]["postgres"]["image"], tar)
    _start()


def _start_postgres() -> None:
    if not compose.is_running("postgres"):
        run("docker", "compose", "up", "--detach", "--wait", "postgres")


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


def _refuse_unless_empty(project: str) -> None:
    databases = query("postgres", "select datname from pg_database")
    there = []
    if "dagster" in databases and query("dagster", "select 1 from pg_tables where tablename = 'runs'"):
        count, newest = query("dagster", "select count(*), max(create_timestamp)::timestamp(0) from runs")[0].split("|")
        if count != "0":
            there.append(f"{count} runs, the newest of {newest} UTC")
    if "warehouse" in databases:
        count, size = query("warehouse", _CONTENT)[0].split("|")
        if count != "0":
            there.append(f"{count} tables and views in the warehouse ({size})")
    if there:
        full = f"The stack {project} is not empty: {', '.join(there)}. A restore replaces all of it, and nothing was"
        raise OpsError(f"{full} changed yet. Keep it with make backup, then give FORCE=1 too.")


def _refuse_unless_migratable(content: manifest.Manifest) -> None:
    release, known = run_in("migrate", "python", "-c", _KNOWN, content.schema).split()
    if known != "True":
        raise OpsError(
            f"The backup's instance has the schema {content.schema} of Dagster {content.dagster}, which Dagster "
            f"{release} of this checkout does not know: a schema can be migrated forward only. Nothing was changed. "
            f"Check out {content.commit or 'the version that the backup was made with'}, or a newer one."
        )
    here = query("postgres", "show server_version_num")[0]
    if int(here) // 10000 < int(content.postgres.split(".")[0]):
        newer = f"The backup is of Postgres {content.postgres}, newer than this stack's. Nothing was changed."
        raise OpsError(f"{newer} Restore it into a stack whose Postgres is at least as new.")


def _refuse_unless_roles_exist(content: manifest.Manifest) -> None:
    if missing := sorted(set(content.roles) - set(query("postgres", "select rolname from pg_roles"))):
        raise OpsError(
            f"The backup has tables of roles that this stack lacks: {', '.join(missing)}. The databases are as they "
            f"were; make up starts the stack on them. Each role needs its warehouse.sql: "
            f"check out {content.commit or 'the version that the backup was made with'}."
        )


def _restore_beside(database: str, dump: IO[bytes]) -> None:
    new_database = _RESTORING.format(database)
    for left in (new_database, _REPLACED.format(database)):
        query("postgres", f"drop database if exists {left} with (force)")
    query("postgres", f"create database {new_database} template template0")
    # A file in the volume, because pg_restore reads it once for each change of the owner.
    file = query("postgres", "show data_directory")[0] + "/restoring.dump"
    try:
        run(*in_postgres("sh", "-c", 'umask 077 && cat > "$0"', file), stdin=dump)
        fill(new_database, file)
    finally:
        run(*in_postgres("rm", "--force", file))
    # A dump has no statistics, which the planner needs for the first queries. Postgres evaluates what an owner wrote as
    # this owner then, and does not let it take on another role.
    query(new_database, "analyze")


def _swap() -> None:
    there = query("postgres", "select datname from pg_database")
    renames = []
    for database in DATABASES:
        if database in there:
            renames.append(f"alter database {database} rename to {_REPLACED.format(database)}")
        renames.append(f"alter database {_RESTORING.format(database)} rename to {database}")
    # A database that has sessions cannot be renamed.
    names = ", ".join(f"'{database}'" for database in DATABASES)
    query("postgres", f"select pg_terminate_backend(pid) from pg_stat_activity where datname in ({names})")
    query("postgres", f"begin; {'; '.join(renames)}; commit")
    for database in DATABASES:
        query("postgres", f"drop database if exists {_REPLACED.format(database)} with (force)")


def _unpack(volume: str, image: str, tar: IO[bytes]) -> None:
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--volume", f"{volume}:/files"]
    script = "find /files -mindepth 1 -delete && tar --extract --directory /files"
    run(*command, "--entrypoint", "sh", image, "-c", script, stdin=tar)
