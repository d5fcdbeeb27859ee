"""The tables of the schema ``metrics``: what one looks like, and how its window is replaced."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import dagster as dg
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extras import NamedTupleCursor

from dbt_location.warehouse import Warehouse


@dataclass(frozen=True)
class MetricsTable:
    """A table in which the rows of every window are what one query says.

    Args:
        name: its name in the schema ``metrics``.
        key: columns of the primary key; the first one, a date, is what windows are cut by.
        columns: all columns, in the order of the query's; one with ``nullable=False`` among its constraints is that.
        query: a select of the window from ``%(start)s`` to before ``%(end)s``.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[dg.TableColumn, ...]
    query: str

    @property
    def identifier(self) -> sql.Identifier:
        """The table's quoted name."""
        return sql.Identifier("metrics", self.name)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the definition of the table's asset tells of it."""
        return {
            "dagster/column_schema": dg.TableSchema(columns=list(self.columns)),
            "dagster/table_name": f"warehouse.metrics.{self.name}",
        }


class Window(NamedTuple):
    """A window that was replaced: its rows in order, how many the whole table has, and the open transaction."""

    rows: list[Any]
    row_count: int
    connection: Connection

    @property
    def metadata(self) -> dict[str, dg.MetadataValue]:
        """What every materialization says of its table."""
        return {
            "dagster/row_count": dg.MetadataValue.int(self.row_count),
            "rows_in_window": dg.MetadataValue.int(len(self.rows)),
        }


def not_null(name: str, kind: str, description: str) -> dg.TableColumn:
    """A column that always has a value."""
    return dg.TableColumn(name, kind, description, dg.TableColumnConstraints(nullable=False))


@contextlib.contextmanager
def replaced_window(warehouse: Warehouse, table: MetricsTable, start: date, end: date) -> Iterator[Window]:
    """Replaces the rows of ``[start, end)`` by what the table's query says, and yields the window before the commit.

    Any order, repetition or overlap of builds leaves the same table: a build replaces its whole window by what the
    marts say about it, and builds of one table take turns from before they read until they commit. A build that dies
    leaves what was there.

    Everything that the caller reads through the window's connection is of the same moment as the rows.

    Raises:
        dagster.Failure: a model that the query reads is not built, or not with these columns.
        psycopg2.Error: no connection, or a statement failed.
    """
    try:
        with warehouse.transaction() as connection:
            _create(connection, table)
        with warehouse.transaction() as connection:
            connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ)
            window = {"start": start, "end": end}
            with connection.cursor() as cursor:
                # As the first statement, so that the moment of which everything is read lies after the wait for it.
                # Readers of the table do not wait.
                cursor.execute(sql.SQL("lock table {} in share row exclusive mode").format(table.identifier))
                cursor.execute(
                    sql.SQL("delete from {} where {day} >= %(start)s and {day} < %(end)s").format(
                        table.identifier, day=sql.Identifier(table.key[0])
                    ),
                    window,
                )
            columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
            insert = sql.SQL("insert into {} ({columns}) {} returning {columns}").format(
                table.identifier, sql.SQL(table.query), columns=columns
            )
            rows = sorted(rows_of(connection, insert, window))
            ((row_count,),) = rows_of(connection, sql.SQL("select count(*) from {}").format(table.identifier))
            yield Window(rows, row_count, connection)
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as error:
        raise dg.Failure(
            f"metrics.{table.name}: {error.diag.message_primary}. Materialize the dbt models that it is made from, "
            "stg_zones among them, then this again.",
            allow_retries=False,
        ) from error


def read_window(connection: Connection, table: MetricsTable, start: date, end: date) -> list[Any]:
    """The rows that the table's query gives for ``[start, end)`` by the marts, in order; the table is not touched."""
    # In the types of the table, as its own rows are.
    typed = sql.SQL(", ").join(
        sql.SQL("cast({name} as {}) as {name}").format(sql.SQL(column.type), name=sql.Identifier(column.name))
        for column in table.columns
    )
    statement = sql.SQL("select {} from ({}) as rows").format(typed, sql.SQL(table.query))
    return sorted(rows_of(connection, statement, {"start": start, "end": end}))


def rows_of(
    connection: Connection, statement: str | sql.Composable, parameters: Mapping[str, Any] | None = None
) -> list[Any]:
    """Runs a statement and returns its rows, in which a column is an attribute."""
    # Any: the names of the attributes are the statement's.
    cursor: Any
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _create(connection: Connection, table: MetricsTable) -> None:
    """Makes the table where it is missing, and the columns that one from an earlier version lacks."""
    with connection.cursor() as cursor:
        # Two first builds at once would both find the table missing; here one of them looks after the other made it.
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"metrics.{table.name}",))
        cursor.execute(
            "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (f"metrics.{table.name}",),
        )
        there = {name for (name,) in cursor.fetchall()}
        if not there:
            definitions = [_definition(column) for column in table.columns]
            key = sql.SQL("primary key ({})").format(sql.SQL(", ").join(map(sql.Identifier, table.key)))
            cursor.execute(
                sql.SQL("create table {} ({})").format(table.identifier, sql.SQL(", ").join([*definitions, key]))
            )
        for column in table.columns:
            if there and column.name not in there:
                cursor.execute(sql.SQL("alter table {} add column {}").format(table.identifier, _definition(column)))


def _definition(column: dg.TableColumn) -> sql.Composed:
    kind = column.type if column.constraints.nullable else f"{column.type} not null"
    return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(kind))
