"""Fills a new database with a dump, without executing anything of a location as another role than the location's.

To create, fill and index a table is to execute what its owner wrote: checks, generated columns, domains. A superuser's
session would do it as the superuser, or as a role from which that code can return to the superuser. So each owner's
entries of the dump are restored in a session that this owner opened.
"""

import re
from itertools import groupby
from typing import NamedTuple

from ops.command import run
from ops.compose import Command, in_postgres

_SUPERUSER = "postgres"
# No code of a location acts as one of these. Without an owner are a cast, and an extension of the platform's.
_PLATFORM = {"", _SUPERUSER, "dagster", "dagster_owner"}
# A line of pg_restore's list. What an entry is comes first and its owner last; between them are names, which a location
# chooses. A line feed in them is shown as a space.
_LINE = re.compile(r"(?P<number>\d+); \d+ \d+ (?P<what>.*) (?P<owner>\S*)")


class _Entry(NamedTuple):
    step: int
    role: str  # that restores it
    number: str


def fill(database: str, dump: str, command: Command = in_postgres) -> None:
    """Restores a dump into an empty database, in the order of the dump.

    Args:
        database: its name. Every role that owns something in the dump may connect to it.
        dump: file in pg_dump's custom format, where the command runs.
        command: gives the command line for a program of Postgres and its arguments; the program may log in as any role.

    Raises CommandError with what pg_restore says. The database is then to be dropped.
    """
    entries = []
    for sections in (["--section=pre-data", "--section=data"], ["--section=post-data"]):
        listed = run(*command("pg_restore", "--list", *sections, dump))
        # Not splitlines(), which knows other ends of a line: a location could write a line of its own.
        entries += [_entry(found, sections) for line in listed.split("\n") if (found := _LINE.fullmatch(line))]
    entries.sort(key=lambda entry: entry.step)
    for role, group in groupby(entries, key=lambda entry: entry.role):
        numbers = "\n".join(entry.number for entry in group)
        options = ("--username", role, "--dbname", database, "--single-transaction", "--exit-on-error")
        run(*command("pg_restore", *options, "--use-list=/dev/stdin", dump), stdin=numbers)


def _entry(line: re.Match[str], sections: list[str]) -> _Entry:
    number, what, owner = line.groups()
    # Only the superuser may create a schema. Who may use it has to be known before others' views of its tables.
    if re.match("SCHEMA - |ACL - SCHEMA ", what):
        return _Entry(0, _SUPERUSER, number)
    # After the rows, since owners may have revoked their own right to write, and by the superuser, since the right may
    # be another role's to give. A function's rights come with the function: without them, every role may call it.
    if re.match(r"ACL \S+ (TABLE|COLUMN|SEQUENCE) ", what):
        return _Entry(2, _SUPERUSER, number)
    return _Entry(3 if "--section=post-data" in sections else 1, _SUPERUSER if owner in _PLATFORM else owner, number)
