"""Replaces both databases of a stack by those of a backup, on compose and in Kubernetes.

Both are restored under new names, and then swapped with the existing ones in one transaction. An interrupted restore
leaves all of the old or all of the new content, and can be repeated.

``command`` gives the command line for a program of Postgres, which acts as the superuser, or as any other role.
"""

from pathlib import Path
from typing import IO

from ops.backup import age, manifest
from ops.backup.fill import fill
from ops.command import OpsError, log, run
from ops.compose import DATABASES, Command, in_postgres, query

_RESTORING = "{}_restoring"
_REPLACED = "{}_replaced"
_CONTENT = """
select count(*), pg_size_pretty(coalesce(sum(pg_total_relation_size(c.oid)), 0))
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where relkind in ('r', 'p', 'm', 'v') and nspname !~ '^pg_' and nspname <> 'information_schema'
"""
# Prints the release of Dagster, and whether it knows a revision of the instance's schema.
KNOWN = """
import sys, dagster
from alembic.script import ScriptDirectory
from dagster_postgres.run_storage import run_storage
from dagster_postgres.utils import pg_alembic_config
scripts = ScriptDirectory.from_config(pg_alembic_config(run_storage.__file__))
print(dagster.__version__, sys.argv[1] in {script.revision for script in scripts.walk_revisions()})
"""


def refuse_unless_empty(project: str, command: Command = in_postgres) -> None:
    """Raises OpsError if a stack has runs or tables."""
    databases = query("postgres", "select datname from pg_database", command)
    there = []
    if "dagster" in databases and query("dagster", "select 1 from pg_tables where tablename = 'runs'", command):
        newest_run = "select count(*), max(create_timestamp)::timestamp(0) from runs"
        count, newest = query("dagster", newest_run, command)[0].split("|")
        if count != "0":
            there.append(f"{count} runs, the newest of {newest} UTC")
    if "warehouse" in databases:
        count, size = query("warehouse", _CONTENT, command)[0].split("|")
        if count != "0":
            there.append(f"{count} tables and views in the warehouse ({size})")
    if there:
        full = f"The stack {project} is not empty: {', '.join(there)}. A restore replaces all of it, and nothing was"
        raise OpsError(f"{full} changed yet. Keep it with make backup, then give FORCE=1 too.")


def refuse_unless_migratable(content: manifest.Manifest, answer: str, command: Command = in_postgres) -> None:
    """Raises OpsError if a backup is of a newer Dagster or Postgres; ``answer`` is what KNOWN prints for its schema."""
    release, known = answer.split()
    if known != "True":
        raise OpsError(
            f"The backup's instance has the schema {content.schema} of Dagster {content.dagster}, which Dagster "
            f"{release} of this checkout does not know: a schema can be migrated forward only. Nothing was changed. "
            f"Check out {content.commit or 'the version that the backup was made with'}, or a newer one."
        )
    here = query("postgres", "show server_version_num", command)[0]
    if int(here) // 10000 < int(content.postgres.split(".")[0]):
        newer = f"The backup is of Postgres {content.postgres}, newer than this stack's. Nothing was changed."
        raise OpsError(f"{newer} Restore it into a stack whose Postgres is at least as new.")


def refuse_unless_roles_exist(content: manifest.Manifest, command: Command = in_postgres) -> None:
    """Raises OpsError if a backup has what belongs to a role that is not there."""
    there = query("postgres", "select rolname from pg_roles", command)
    if missing := sorted(set(content.roles) - set(there)):
        raise OpsError(
            f"The backup has tables of roles that this stack lacks: {', '.join(missing)}. The databases are as they "
            f"were; make up starts the stack on them. Each role needs its warehouse.sql: "
            f"check out {content.commit or 'the version that the backup was made with'}."
        )


def restore_dumps(
    folder: Path, content: manifest.Manifest, key: Path | None, room: str, command: Command = in_postgres
) -> None:
    """Replaces both databases by those of a backup; ``room`` is a folder for a dump, where the commands run."""
    for database in DATABASES:
        log(f"restoring {database}")
        with age.reading(content.path(folder, f"{database}.dump"), key) as dump:
            restore_beside(database, dump, room, command)
    swap(command)


def restore_beside(database: str, dump: IO[bytes], folder: str, command: Command = in_postgres) -> None:
    """Restores a dump under another name; ``folder`` has room for the dump, where the commands run."""
    new_database = _RESTORING.format(database)
    for left in (new_database, _REPLACED.format(database)):
        query("postgres", f"drop database if exists {left} with (force)", command)
    query("postgres", f"create database {new_database} template template0", command)
    # A file, because pg_restore reads it once for each change of the owner.
    file = f"{folder}/restoring.dump"
    try:
        run(*command("sh", "-c", 'umask 077 && cat > "$0"', file), stdin=dump)
        fill(new_database, file, command)
    finally:
        run(*command("rm", "--force", file))
    # A dump has no statistics, which the planner needs for the first queries. Postgres evaluates what an owner wrote as
    # this owner then, and does not let it take on another role.
    query(new_database, "analyze", command)


def swap(command: Command = in_postgres) -> None:
    """Puts the restored databases in the place of the existing ones, which are dropped."""
    there = query("postgres", "select datname from pg_database", command)
    renames = []
    for database in DATABASES:
        if database in there:
            renames.append(f"alter database {database} rename to {_REPLACED.format(database)}")
        renames.append(f"alter database {_RESTORING.format(database)} rename to {database}")
    # A database that has sessions cannot be renamed.
    names = ", ".join(f"'{database}'" for database in DATABASES)
    query("postgres", f"select pg_terminate_backend(pid) from pg_stat_activity where datname in ({names})", command)
    query("postgres", f"begin; {'; '.join(renames)}; commit", command)
    for database in DATABASES:
        query("postgres", f"drop database if exists {_REPLACED.format(database)} with (force)", command)
