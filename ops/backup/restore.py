"""Puts a backup in the place of what the stack has, and starts the stack on it: ``make restore BACKUP=…``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ops.backup import manifest
from ops.backup.compose import DATABASES, OperationError, in_postgres, query, run, running, settings

_RESTORING = "{}_restoring"
_REPLACED = "{}_replaced"


def restore(backup: Path, force: bool) -> None:
    """Restores a backup and starts the stack.

    Both databases are restored beside those that are there, each in one transaction, and put in their place together,
    in one transaction: whatever ends a restore, and whenever, the stack has all of the old or all of the new, and the
    same restore can be run again.

    Args:
        backup: the backup's folder, or a file in it.
        force: replace what a stack that is not empty has.

    Raises:
        OperationError: the backup is damaged or does not fit, the stack is not empty, or a step failed.
    """
    folder, content = manifest.read(backup)
    _say(f"{folder}: whole; of {content.created}, Dagster {content.dagster}, Postgres {content.postgres}")
    stack = settings()
    if not running("postgres"):
        run("docker", "compose", "up", "--detach", "--wait", "postgres")
    if not force:
        _refuse_unless_empty(stack["name"])
    _say("building the images")
    run("docker", "compose", "build")
    _refuse_unless_migratable(content)

    services = [service for service in stack["services"] if service != "postgres"]
    _say("stopping " + ", ".join(services))
    run("docker", "compose", "stop", *services)
    # One that went on would write events of another history.
    runs = run("docker", "ps", "--all", "--quiet", "--filter", f"label=project={stack['name']}").split()
    if runs:
        run("docker", "rm", "--force", *runs)
    # Networks and volumes, and a Postgres with this checkout's settings.
    run("docker", "compose", "create")
    run("docker", "compose", "up", "--detach", "--wait", "postgres")
    # The roles, with the passwords that this stack drew.
    run(*_in_migrate("python", "-m", "warehouse.apply", "--credentials", "/credentials"))
    _refuse_unless_roles_exist(content)

    for database in DATABASES:
        _say(f"restoring {database}")
        _restore_beside(database, folder / f"{database}.dump")
    _swap()
    for volume in content.volumes:
        _unpack(f"{stack['name']}_{volume}", stack["services"]["postgres"]["image"], folder / f"{volume}.tar")
    _say("migrating the instance and starting the stack")
    try:
        run("docker", "compose", "up", "--detach", "--wait")
    except OperationError as error:
        raise OperationError(f"Everything is restored, but not every service came up: make up. {error}") from None


def _say(line: str) -> None:
    print(line, flush=True)


def _in_migrate(*command: str) -> list[str]:
    return ["docker", "compose", "run", "--rm", "--no-deps", "-T", "migrate", *command]


def _refuse_unless_empty(project: str) -> None:
    there = _content()
    if there:
        raise OperationError(
            f"The stack {project} is not empty: {', '.join(there)}. A restore replaces all of it, and nothing was "
            "changed yet. Keep it with make backup, then say FORCE=1, too."
        )


def _content() -> list[str]:
    databases = query("postgres", "select datname from pg_database")
    there = []
    if "dagster" in databases and query("dagster", "select 1 from pg_tables where tablename = 'runs'"):
        count, newest = query("dagster", "select count(*), max(create_timestamp)::timestamp(0) from runs")[0].split("|")
        if count != "0":
            there.append(f"{count} runs, the newest of {newest} UTC")
    if "warehouse" in databases:
        count, size = query(
            "warehouse",
            "select count(*), pg_size_pretty(coalesce(sum(pg_total_relation_size(c.oid)), 0)) from pg_class as c "
            "join pg_namespace as n on n.oid = c.relnamespace "
            "where relkind in ('r', 'p', 'm', 'v') and nspname !~ '^pg_' and nspname <> 'information_schema'",
        )[0].split("|")
        if count != "0":
            there.append(f"{count} tables and views in the warehouse ({size})")
    return there


def _refuse_unless_migratable(content: manifest.Manifest) -> None:
    code = (
        "import alembic.script as s, dagster_postgres.run_storage.run_storage as r, dagster, sys;"
        "from dagster_postgres.utils import pg_alembic_config as c;"
        "known = {v.revision for v in s.ScriptDirectory.from_config(c(r.__file__)).walk_revisions()};"
        "print(dagster.__version__, sys.argv[1] in known)"
    )
    release, known = run(*_in_migrate("python", "-c", code, content.schema)).split()
    if known != "True":
        raise OperationError(
            f"The backup's instance has the schema {content.schema} of Dagster {content.dagster}, which Dagster "
            f"{release} of this checkout does not know: a schema can be migrated forward only. Nothing was changed. "
            f"Check out {content.commit or 'the version that the backup was made with'}, or a newer one."
        )
    here = query("postgres", "show server_version_num")[0]
    if int(here) // 10000 < int(content.postgres.split(".")[0]):
        raise OperationError(
            f"The backup is of Postgres {content.postgres}, newer than this stack's. Nothing was changed. Restore it "
            "into a stack whose Postgres is as new."
        )


def _refuse_unless_roles_exist(content: manifest.Manifest) -> None:
    missing = sorted(set(content.roles) - set(query("postgres", "select rolname from pg_roles")))
    if missing:
        raise OperationError(
            f"The backup has tables of roles that this stack lacks: {', '.join(missing)}. The databases are as they "
            f"were; make up starts the stack on them. Each role needs its warehouse.sql: "
            f"check out {content.commit or 'the version that the backup was made with'}."
        )


def _restore_beside(database: str, dump: Path) -> None:
    beside = _RESTORING.format(database)
    for left in (beside, _REPLACED.format(database)):
        query("postgres", f"drop database if exists {left} with (force)")
    query("postgres", f"create database {beside} template template0")
    with dump.open("rb") as file:
        run(*in_postgres("pg_restore", "--single-transaction", "--exit-on-error", "--dbname", beside), stdin=file)
    # A dump has no statistics; without them the first queries would be planned blindly.
    query(beside, "analyze")


def _swap() -> None:
    """Puts both databases in their place, in one transaction."""
    there = query("postgres", "select datname from pg_database")
    renames = []
    for database in DATABASES:
        if database in there:
            renames.append(f"alter database {database} rename to {_REPLACED.format(database)}")
        renames.append(f"alter database {_RESTORING.format(database)} rename to {database}")
    # Whoever looked into the old ones is sent away, for a database in use keeps its name.
    names = ", ".join(f"'{database}'" for database in DATABASES)
    query("postgres", f"select pg_terminate_backend(pid) from pg_stat_activity where datname in ({names})")
    query("postgres", f"begin; {'; '.join(renames)}; commit")
    for database in DATABASES:
        query("postgres", f"drop database if exists {_REPLACED.format(database)} with (force)")


def _unpack(volume: str, image: str, tar: Path) -> None:
    """Replaces the files of a volume by those of a tar."""
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--volume", f"{volume}:/files"]
    script = "find /files -mindepth 1 -delete && tar --extract --directory /files"
    with tar.open("rb") as file:
        run(*command, "--entrypoint", "sh", image, "-c", script, stdin=file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="restore", description=__doc__)
    parser.add_argument("backup", type=Path, help="folder of the backup, or a file in it")
    parser.add_argument("--force", action="store_true", help="replace what is in the stack")
    arguments = parser.parse_args()
    try:
        restore(arguments.backup, arguments.force)
    except OperationError as error:
        sys.exit(f"restore: {error}")
    print("Restored. Runs that were in flight are marked as failed and launched again within a minute or so.")
