"""Ledgers: tables in the warehouse that record which files the loaded data came from.

A ledger is written in the transaction that replaces the data, so the two always agree. Metadata of Dagster's events
could disagree: a run may die between its commit and its event, and either database may be restored alone.
"""

from dataclasses import astuple, dataclass, fields
from typing import Any, Generic, Self, TypeVar

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.download import FileVersion

COLUMNS = """
    url text not null, etag text, last_modified text, bytes bigint not null, sha256 text not null, run_id text not null,
    loaded_at timestamptz not null default now(),
"""


@dataclass(frozen=True, kw_only=True)
class LoadedFile(FileVersion):
    """A loaded file: one row of a ledger, which also has ``loaded_at``."""

    run_id: str

    @classmethod
    def of(cls, version: FileVersion, run_id: str, **others: Any) -> Self:
        """The row of a fetched file; ``others`` are the attributes of a subclass."""
        attributes = {field.name: getattr(version, field.name) for field in fields(FileVersion)}
        return cls(**attributes, run_id=run_id, **others)


Row = TypeVar("Row", bound=LoadedFile)


class Ledger(Generic[Row]):
    """The table ``raw_taxis.<name>``, whose ``definitions`` are its columns and keys besides ``COLUMNS``."""

    def __init__(self, name: str, row: type[Row], definitions: str) -> None:
        self._name = name
        self._row = row
        self._definitions = definitions
        self._names = [field.name for field in fields(row)]
        self._columns = sql.SQL(", ").join(map(sql.Identifier, self._names))
        self.table = sql.Identifier("raw_taxis", name)

    def create(self, cursor: Cursor) -> None:
        columns = sql.SQL(COLUMNS + self._definitions)
        cursor.execute(sql.SQL("create table if not exists {} ({})").format(self.table, columns))

    def exists(self, cursor: Cursor) -> bool:
        """Whether the table exists; it does not before the first load."""
        cursor.execute("select to_regclass(%s) is not null", (f"raw_taxis.{self._name}",))
        return cursor.fetchone() == (True,)

    def read(self, cursor: Cursor, where: str = "true", parameters: dict[str, Any] | None = None) -> list[Row]:
        """Reads rows; none where the table does not exist yet."""
        if not self.exists(cursor):
            return []
        statement = sql.SQL("select {} from {} where {}").format(self._columns, self.table, sql.SQL(where))
        cursor.execute(statement, parameters)
        return [self._row(**dict(zip(self._names, row, strict=True))) for row in cursor.fetchall()]

    def replace(self, cursor: Cursor, rows: list[Row], where: str = "true", parameters: Any = None) -> None:
        """Replaces rows; called in the transaction that replaces the data."""
        cursor.execute(sql.SQL("delete from {} where {}").format(self.table, sql.SQL(where)), parameters)
        for row in rows:
            statement = sql.SQL("insert into {} ({}) values %s").format(self.table, self._columns)
            cursor.execute(statement, (astuple(row),))
