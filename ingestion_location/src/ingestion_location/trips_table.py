"""``raw_taxis.trips`` and ``raw_taxis.stray_trips``: their shape, and how one month of them is replaced."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from ingestion_location.binary_copy import copy_batches
from ingestion_location.trip_file import split_strays
from ingestion_location.trip_schema import ARROW_SCHEMA, COLUMNS

SCHEMA = "raw_taxis"
TRIPS = sql.Identifier(SCHEMA, "trips")
STRAY_TRIPS = sql.Identifier(SCHEMA, "stray_trips")
STRAY_SCHEMA = ARROW_SCHEMA.insert(0, pa.field("file_month", pa.date32()))

_COLUMN_DEFINITIONS = sql.SQL(", ").join(
    sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.postgres)) for column in COLUMNS
)


@dataclass(frozen=True)
class LoadedMonth:
    """What one load put into the warehouse: rows in each of the two tables."""

    trips: int
    strays: int


def create_tables(cursor: Cursor) -> None:
    """Creates the two tables where they are missing."""
    # Two first loads at once would both find the tables missing; the lock makes one of them look later.
    cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{SCHEMA} tables",))
    cursor.execute("select to_regclass(%s)", (f"{SCHEMA}.stray_trips",))
    if cursor.fetchone() != (None,):
        return
    cursor.execute(
        sql.SQL("create table {} ({}) partition by range (pickup_datetime)").format(TRIPS, _COLUMN_DEFINITIONS)
    )
    cursor.execute(sql.SQL("create index on {} (pickup_datetime)").format(TRIPS))
    cursor.execute(sql.SQL("create table {} (file_month date not null, {})").format(STRAY_TRIPS, _COLUMN_DEFINITIONS))
    cursor.execute(sql.SQL("create index on {} (file_month)").format(STRAY_TRIPS))


def replace_month(
    connection: Connection, batches: Iterable[pa.RecordBatch], start: datetime, end: datetime
) -> LoadedMonth:
    """Replaces the month ``[start, end)`` by the trips of its file; the caller's transaction commits it.

    Readers see the old month or the new one and a crash leaves the old one, because the new partition is made, filled
    and put in the old one's place inside one transaction.

    Args:
        connection: open connection, no work done on it yet.
        batches: the whole file in the canonical schema.
        start: first moment of the month.
        end: first moment of the next month.
    """
    month = start.date()
    partition = f"trips_{month:%Y_%m}"
    new = sql.Identifier(SCHEMA, f"{partition}_new")
    with connection.cursor() as cursor:
        create_tables(cursor)
    # Loads of other months need not wait for this one: the tables are there for all from here on.
    connection.commit()

    with connection.cursor() as cursor, tempfile.TemporaryFile() as spool:
        # Two loads of one month take turns, so each of them replaces a whole month by a whole month.
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{SCHEMA}.{partition}",))
        # Not `like trips`: that would hold a lock of the parent from here on, and two loads that both hold one and both
        # need the parent alone for the swap wait for each other for ever.
        # The check lets Postgres attach the partition without reading it again while it holds the parent's lock.
        cursor.execute(
            sql.SQL(
                "create table {} ({}, "
                "check (pickup_datetime is not null and pickup_datetime >= {} and pickup_datetime < {}))"
            ).format(new, _COLUMN_DEFINITIONS, sql.Literal(start), sql.Literal(end))
        )
        strays = _StraySpool(spool, month)
        # FREEZE: the table is this transaction's own, so its rows need no later rewrite by vacuum.
        trips = copy_batches(cursor, new, strays.divert(batches, start, end), ARROW_SCHEMA, freeze=True)
        cursor.execute(sql.SQL("create index on {} (pickup_datetime)").format(new))

        cursor.execute(sql.SQL("delete from {} where file_month = %s").format(STRAY_TRIPS), (month,))
        stray_count = copy_batches(cursor, STRAY_TRIPS, strays.batches(), STRAY_SCHEMA)

        cursor.execute(sql.SQL("analyze {}").format(new))

        # From here to the commit readers of the parent wait, and other loads: changes of the catalog only, no data.
        cursor.execute(sql.SQL("lock table {} in access exclusive mode").format(TRIPS))
        cursor.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(SCHEMA, partition)))
        cursor.execute(sql.SQL("alter table {} rename to {}").format(new, sql.Identifier(partition)))
        cursor.execute(
            sql.SQL("alter table {} attach partition {} for values from ({}) to ({})").format(
                TRIPS, sql.Identifier(SCHEMA, partition), sql.Literal(start), sql.Literal(end)
            )
        )
    return LoadedMonth(trips, stray_count)


class _StraySpool:
    """Keeps the strays aside, in a file, while the other trips stream into their partition."""

    def __init__(self, file: object, month: date) -> None:
        self._sink = pa.PythonFile(file, mode="w")
        self._writer = pa.ipc.new_stream(self._sink, STRAY_SCHEMA)
        self._file = file
        self._month = month

    def divert(self, batches: Iterable[pa.RecordBatch], start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            inside, strays = split_strays(batch, start, end)
            if strays.num_rows:
                months = pa.array([self._month] * strays.num_rows, pa.date32())
                self._writer.write_batch(pa.RecordBatch.from_arrays([months, *strays.columns], schema=STRAY_SCHEMA))
            yield inside

    def batches(self) -> Iterator[pa.RecordBatch]:
        self._writer.close()
        self._file.seek(0)  # type: ignore[attr-defined]
        yield from pa.ipc.open_stream(pa.PythonFile(self._file, mode="r"))
