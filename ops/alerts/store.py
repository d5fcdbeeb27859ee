"""The state of the alerts: current problems, what waits for each receiver, and what is silenced.

It is a SQLite file in a volume, so that a restart reports nothing twice and loses nothing, also while Postgres is away.
Times are seconds since 1970.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "state.sqlite"
# What a receiver did not accept in this time is dropped.
GIVE_UP_SECONDS = 7 * 86_400
_TABLES = """
create table if not exists problems (
  id text primary key, kind text, location text, assets text, tags text, line text, began real,
  evaluations int, gone int, reported int);
create table if not exists entries (id integer primary key autoincrement, time real, mark text, tags text, line text);
create table if not exists sent (entry int, receiver text, primary key (entry, receiver));
create table if not exists receivers (id text primary key, last real, since real, trouble text, given_up int);
create table if not exists silences (name text primary key, until real);
create table if not exists failed_runs (run_id text primary key, event int);
create table if not exists kept (name text primary key, value text);
"""


@dataclass(frozen=True)
class Silence:
    """No alerts about a location, an asset, a service, a kind or a team are sent until a time."""

    name: str
    until: float


@dataclass(frozen=True)
class Entry:
    """One line to be sent; ``tags`` are those of its owners, ``mark`` says what the line is about."""

    id: int
    time: float
    mark: str  # one of MARKS
    tags: tuple[str, ...]
    line: str


BEGINS, FAILED, ENDED = "begins", "failed", "ended"
MARKS = (BEGINS, FAILED, ENDED)


class Store:
    """One process evaluates and sends, others silence and list; SQLite's lock keeps them apart."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / FILE, timeout=10, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(_TABLES)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def ask(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        return self._db.execute(statement, values).fetchall()

    def get(self, name: str, otherwise: Any = None) -> Any:
        rows = self.ask("select value from kept where name = ?", name)
        return json.loads(rows[0]["value"]) if rows else otherwise

    def put(self, name: str, value: Any) -> None:
        self.ask("insert or replace into kept values (?, ?)", name, json.dumps(value))

    def add(self, time: float, mark: str, tags: Iterable[str], line: str) -> None:
        """Queues a line for everybody whom it concerns."""
        self.ask("insert into entries (time, mark, tags, line) values (?, ?, ?, ?)", time, mark, " ".join(tags), line)

    def waiting(self, receiver: str | None = None) -> list[Entry]:
        """What is still to be sent, the oldest first; for one receiver what it has not accepted."""
        rows = self.ask(
            "select * from entries where not exists (select 1 from sent where entry = id and receiver = ?) order by id",
            receiver,
        )
        return [Entry(row["id"], row["time"], row["mark"], tuple(row["tags"].split()), row["line"]) for row in rows]

    def silences(self, now: float) -> list[Silence]:
        rows = self.ask("select name, until from silences where until > ? order by name", now)
        return [Silence(**row) for row in rows]
