"""Consistent dumps of both databases while the stack is running."""

import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ops.backup import age
from ops.command import ROOT, OpsError, log
from ops.compose import DATABASES, Ask, Command, in_postgres, session

ATTEMPTS = 5
# A load takes longer than this from its launch to its commit, since its container must start first.
MAX_SECONDS_BETWEEN = 2.0
_POLL_SECONDS = 0.05
# Each table with the file of its rows, which differs after the table was replaced or truncated. The name is hashed: a
# location chooses it, and a line feed in it would be a row of its own, which becomes a part of a superuser's statement.
_TABLES = """
select c.oid, md5(n.nspname || '.' || c.relname), c.relfilenode
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
"""


class InconsistentError(Exception):
    """The dumps would not be consistent; another attempt may succeed."""


def dump(folder: Path, recipients: Path | None, command: Command = in_postgres) -> dict[str, Any]:
    """Writes ``dagster.dump`` and ``warehouse.dump``, and returns ``schema`` and ``roles`` of the manifest.

    Both are encrypted if there is a file of recipients.

    The tables contain everything that the history says was materialized: the snapshot of the instance is taken first,
    and a run commits its tables before it records the event. A run that commits between the two snapshots is still
    unfinished in the history, so it is launched again after a restore, and a repeated run leaves the same tables. A
    single snapshot would not avoid this, since commit and event are separate transactions.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(folder, recipients, command)
        except InconsistentError as error:
            reason = str(error)
            log(f"attempt {attempt} of {ATTEMPTS}: {reason}")
    raise OpsError(f"{reason}, {ATTEMPTS} times in a row. Nothing was kept; try again when fewer runs are active.")


def _attempt(folder: Path, recipients: Path | None, command: Command) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        snapshots = {database: stack.enter_context(session(database, command)) for database in DATABASES}
        now = {database: stack.enter_context(session(database, command)) for database in DATABASES}
        for ask in snapshots.values():
            ask("begin isolation level repeatable read read only")
        started = time.monotonic()
        names = {database: ask("select pg_export_snapshot()")[0] for database, ask in snapshots.items()}
        seconds_between = time.monotonic() - started
        if seconds_between > MAX_SECONDS_BETWEEN:
            raise InconsistentError(f"the two snapshots are {seconds_between:.1f} s apart")
        tables = {database: ask(_TABLES) for database, ask in snapshots.items()}
        suffix = age.SUFFIX if recipients else ""
        dumps = {}
        for database in DATABASES:
            file = stack.enter_context(age.writing(folder / f"{database}.dump{suffix}", recipients))
            dumps[database] = stack.enter_context(_pg_dump(database, names[database], file, command))
        for database in DATABASES:
            dumps[database].hold(tables[database], now[database])
        for pg_dump in dumps.values():
            pg_dump.finish()
        instance = snapshots["dagster"]
        roles = {role for ask in snapshots.values() for role in ask(_ROLES)}
        return {"schema": instance("select version_num from alembic_version")[0], "roles": sorted(roles)}


_ROLES = """
select distinct r.rolname
from pg_shdepend as d join pg_roles as r on r.oid = d.refobjid
where d.refclassid = 'pg_authid'::regclass and r.rolname !~ '^(pg_|postgres$)'
  and d.dbid = (select oid from pg_database where datname = current_database())
"""


@dataclass(frozen=True)
class _PgDump:
    process: subprocess.Popen[bytes]
    name: str  # of its session
    database: str

    def hold(self, tables: list[str], now: Ask) -> None:
        """Waits until pg_dump has locked the snapshot's tables, rows of ``_TABLES``; ``now`` asks outside the snapshot.

        pg_dump locks tables by name, after it has its snapshot. If a load replaces the table of a month in between,
        pg_dump would read the new month together with the old ledger, and without an error, since the rows of a load
        are frozen. The dump is consistent if the tables are still those of the snapshot once all are locked.
        """
        oids = ", ".join(table.split("|")[0] for table in tables) or "0"
        held = (
            "select count(*) from pg_locks join pg_stat_activity using (pid) where locktype = 'relation' and granted"
            f" and mode = 'AccessShareLock' and application_name = '{self.name}' and relation in ({oids})"
            " and database = (select oid from pg_database where datname = current_database())"
        )
        while True:
            # In this order: tables that are unchanged once they are locked stay unchanged.
            over = self.process.poll() is not None
            locked = int(now(held)[0]) == len(tables)
            if not set(tables) <= set(now(_TABLES)):
                raise InconsistentError(f"a table of {self.database} was replaced just when pg_dump began")
            if over or locked:
                return
            time.sleep(_POLL_SECONDS)

    def finish(self) -> None:
        """Waits for the end of pg_dump; raises InconsistentError if a view was replaced meanwhile."""
        assert self.process.stderr is not None
        message = self.process.stderr.read().decode(errors="replace").strip()
        if self.process.wait() != 0:
            if "could not open relation" in message or "appears to be empty" in message or "does not exist" in message:
                raise InconsistentError(f"a view of {self.database} was replaced while pg_dump read it")
            raise OpsError(f"pg_dump of {self.database} failed: {message}. Nothing was kept.")


@contextlib.contextmanager
def _pg_dump(database: str, snapshot: str, file: IO[bytes], command: Command) -> Iterator[_PgDump]:
    name = f"backup {secrets.token_hex(6)}"
    options = ("--format=custom", "--compress=zstd", f"--snapshot={snapshot}", "--lock-wait-timeout=60s")
    line = command("pg_dump", *options, database, PGAPPNAME=name)
    process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE)
    try:
        yield _PgDump(process, name, database)
    finally:
        if process.poll() is None:
            # Ending the client would not end its session.
            with session(database, command) as ask:
                ask(f"select pg_terminate_backend(pid) from pg_stat_activity where application_name = '{name}'")
        process.communicate()
