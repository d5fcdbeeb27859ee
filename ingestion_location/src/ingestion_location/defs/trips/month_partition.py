"""The tables ``raw_taxis.trips`` and ``raw_taxis.stray_trips``, and the swap that replaces one month of them."""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime

import pyarrow as pa
from psycopg2 import sql
from psycopg2.errors import DependentObjectsStillExist, LockNotAvailable
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from ingestion_location.binary_copy import copy_batches
from ingestion_location.defs.trips.trip_file import split_strays
from ingestion_location.defs.trips.trip_ledger import TRIP_FILES
from ingestion_location.defs.trips.trip_schema import BOUNDS, COLUMNS, Absurd
from ingestion_location.defs.trips.trip_stats import TripStats
from ingestion_location.locks import create_and_commit, take_lock
from ingestion_location.progress import Log, Phases
from ingestion_location.source_errors import explained_disk_errors

SCHEMA = "raw_taxis"
TRIPS = sql.Identifier(SCHEMA, "trips")
STRAY_TRIPS = sql.Identifier(SCHEMA, "stray_trips")

_COLUMN_DEFINITIONS = sql.SQL(", ").join(
    sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.postgres)) for column in COLUMNS
)
# The files are nearly in the order of the pickups, so a block range index finds a day of the month as well as a B-tree,
# with a thousandth of its size and a fifth of its build time.
_INDEX = sql.SQL("create index on {} using brin (pickup_datetime)")


def create_tables(cursor: Cursor, log: Log, reader_timeout: float) -> None:
    """Creates the tables of the trips and the ledger, and adds columns that an older table lacks.

    An added column is null in the months that were loaded before, until they are loaded again.

    Args:
        reader_timeout: seconds after which blocking readers are ended.

    Raises:
        LockError: a column is missing, and a session that uses the table did not end in time.
    """
    if TRIP_FILES.exists(cursor):
        _add_columns(cursor, log, reader_timeout)
        return
    trips = sql.SQL("create table {} ({}) partition by range (pickup_datetime)")
    cursor.execute(trips.format(TRIPS, _COLUMN_DEFINITIONS))
    cursor.execute(_INDEX.format(TRIPS))
    strays = sql.SQL("create table {} (file_month date not null, {})")
    cursor.execute(strays.format(STRAY_TRIPS, _COLUMN_DEFINITIONS))
    cursor.execute(sql.SQL("create index on {} (file_month)").format(STRAY_TRIPS))
    TRIP_FILES.create(cursor)


def _add_columns(cursor: Cursor, log: Log, reader_timeout: float) -> None:
    for table, name in ((TRIPS, f"{SCHEMA}.trips"), (STRAY_TRIPS, f"{SCHEMA}.stray_trips")):
        present = _columns(cursor, name)
        missing = [column for column in COLUMNS if column.name not in present]
        if missing:
            lock = sql.SQL("lock table {} in access exclusive mode").format(table)
            take_lock(cursor, lock, f"the readers of {name}", log, reader_timeout)
        for column in missing:
            _add_column(cursor, table, column.name, column.postgres)


def _columns(cursor: Cursor, table: str) -> dict[str, str]:
    cursor.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        (table,),
    )
    return dict(cursor.fetchall())


def _add_column(cursor: Cursor, table: sql.Composable, name: str, kind: str) -> None:
    add = sql.SQL("alter table {} add column if not exists {} {}")
    cursor.execute(add.format(table, sql.Identifier(name), sql.SQL(kind)))


def replace_month(
    connection: Connection,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    start: datetime,
    end: datetime,
    phases: Phases,
    on_rows: Callable[[int], None] = lambda _: None,
    judge: Callable[[int, int], None] = lambda trips, strays: None,
    name: str = "the file",
    reader_timeout: float = 300,
) -> tuple[TripStats, int]:
    """Replaces the month ``[start, end)`` with the trips of its file; the caller's transaction commits it.

    Any order, repetition, overlap or crash leaves a month as its last committed load wrote it: one transaction creates
    and fills the new partition and swaps it for the old one, and loads of one month take turns.

    Returns counts over the month's trips, and the number of strays.

    Args:
        connection: open connection, without a transaction.
        schema: the batches' columns, all or some of the canonical ones; the others are null in the table.
        on_rows: called with the number of trips that were sent since the last call.
        judge: called with the numbers of trips and strays so far, before strays are stored, and with those of the whole
            file before anything is replaced. If it raises an error, the month is unchanged.
        name: what a message calls the file.
        reader_timeout: seconds after which blocking readers are ended.

    Raises:
        LockError: another load of the month, or a session that uses the table, did not end in time.
        SourceError: the folder for temporary files has no room for the strays.
    """
    month = start.date()
    partition = f"trips_{month:%Y_%m}"
    new = sql.Identifier(SCHEMA, f"{partition}_new")
    # Committed, so that loads of other months do not wait for this one.
    create_and_commit(connection, lambda cursor: create_tables(cursor, phases.log, reader_timeout))

    with contextlib.closing(_StraySpool(schema, month, name, judge)) as strays, connection.cursor() as cursor:
        stats = TripStats()
        with phases.phase("copy"):
            # Not `like trips`: that would lock the parent from here on, and two loads that both hold such a lock and
            # need an exclusive one for the swap would deadlock.
            # With the check Postgres attaches the partition without scanning it while it holds the parent's lock.
            create = sql.SQL(
                "create table {} ({}, check"
                " (pickup_datetime is not null and pickup_datetime >= {start} and pickup_datetime < {end}))"
            )
            lock = create.format(new, _COLUMN_DEFINITIONS, start=sql.Literal(start), end=sql.Literal(end))
            # Two loads of one month take turns, so each of them replaces a whole month with a whole month. The table's
            # name is the lock: until this transaction ends no other can create it, and no other role ever can.
            take_lock(cursor, lock, f"another load of {month:%Y-%m}", phases.log, reader_timeout)
            # FREEZE saves a later rewrite by vacuum. It also shows the new month to a reader whose snapshot is older
            # than the swap and who reads the table after it: without FREEZE that reader would see an empty month.
            inside = stats.watch(strays.divert(batches, start, end))
            copy_batches(cursor, new, inside, schema, freeze=True, on_rows=on_rows)
        judge(stats.rows, strays.rows)
        with phases.phase("index"):
            cursor.execute(_INDEX.format(new))
            # A tenth of the default sample: the planner only needs the distribution of the trips over the days.
            cursor.execute("set local default_statistics_target = 10")
            cursor.execute(sql.SQL("analyze {}").format(new))
        with phases.phase("swap"):
            cursor.execute(sql.SQL("delete from {} where file_month = %s").format(STRAY_TRIPS), (month,))
            copy_batches(cursor, STRAY_TRIPS, strays.batches(), strays.schema)
            # From here to the commit readers of the parent and other loads wait. Only the catalog changes, so it is
            # short. The lock ensures that a reader sees the old month or the new one, never none.
            cursor.execute("select to_regclass(%s)", (f"{SCHEMA}.{partition}",))
            replaced = cursor.fetchone() != (None,)
            lock_tables = sql.SQL("lock table only {} in access exclusive mode")
            tables = [TRIPS, sql.Identifier(SCHEMA, partition)] if replaced else [TRIPS]
            lock = lock_tables.format(sql.SQL(", ").join(tables))
            take_lock(cursor, lock, f"the readers of {SCHEMA}.trips", phases.log, reader_timeout)
            if replaced:
                _drop(cursor, partition, phases.log)
            # Columns of another release, newer or older, stay in the table and are null in the new month.
            for name, kind in _columns(cursor, f"{SCHEMA}.trips").items():
                if name not in {column.name for column in COLUMNS}:
                    _add_column(cursor, new, name, kind)
            cursor.execute(sql.SQL("alter table {} rename to {}").format(new, sql.Identifier(partition)))
            attach = sql.SQL("alter table {} attach partition {} for values from (%s) to (%s)")
            cursor.execute(attach.format(TRIPS, sql.Identifier(SCHEMA, partition)), (start, end))
    return stats, strays.rows


def _drop(cursor: Cursor, partition: str, log: Log) -> None:
    """Drops a partition; one that another role has made something of, such as a view, is emptied and set aside."""
    table = sql.Identifier(SCHEMA, partition)
    cursor.execute("savepoint before_drop")
    try:
        # A lock on what depends on the partition would be waited for, while readers of the trips wait.
        cursor.execute("set local lock_timeout = '100ms'")
        cursor.execute(sql.SQL("drop table {}").format(table))
        cursor.execute("set local lock_timeout = default")
    except (DependentObjectsStillExist, LockNotAvailable) as error:
        cursor.execute("rollback to savepoint before_drop")
        cursor.execute(sql.SQL("alter table {} detach partition {}").format(TRIPS, table))
        cursor.execute(sql.SQL("truncate {}").format(table))
        cursor.execute("select pg_current_xact_id()::text")
        ((transaction,),) = cursor.fetchall()
        aside = f"{partition}_replaced_{transaction}"
        cursor.execute(sql.SQL("alter table {} rename to {}").format(table, sql.Identifier(aside)))
        why = error.diag.message_detail or f"something depends on table {SCHEMA}.{partition} and is locked"
        log(f"{why}. That has {SCHEMA}.{aside} now, which is empty, in place of the month. Use {SCHEMA}.trips instead.")


def trips_by_day(cursor: Cursor, start: datetime, end: datetime) -> dict[date, int]:
    """Counts the trips of every day of the month ``[start, end)``, zero for a day without trips."""
    cursor.execute(
        sql.SQL(
            "select day::date, (select count(*) from {}"
            " where pickup_datetime >= day and pickup_datetime < day + interval '1 day')"
            " from generate_series(%s, %s, interval '1 day') as day where day < %s"
        ).format(TRIPS),
        (start, end, end),
    )
    return dict(cursor.fetchall())


def absurd_numbers(cursor: Cursor, start: datetime, end: datetime) -> dict[str, Absurd]:
    """Finds the absurd numbers among the trips of the month ``[start, end)``, per column that has any."""
    figure = sql.SQL("count(*) filter (where abs({0}) > {1}), max({0}), min({0})")
    figures = [figure.format(sql.Identifier(name), sql.Literal(bound)) for name, bound in BOUNDS.items()]
    statement = sql.SQL("select {} from {} where pickup_datetime >= %s and pickup_datetime < %s")
    cursor.execute(statement.format(sql.SQL(", ").join(figures), TRIPS), (start, end))
    (row,) = cursor.fetchall()
    columns = zip(BOUNDS, row[0::3], row[1::3], row[2::3], strict=True)
    # The highest comes first: it is NaN where there is one, and a NaN is never less than another number.
    return {name: Absurd(trips, max(highest, lowest, key=abs)) for name, trips, highest, lowest in columns if trips}


class _StraySpool:
    """Keeps the strays in a file while the other trips are copied into their partition."""

    def __init__(self, schema: pa.Schema, month: date, name: str, judge: Callable[[int, int], None]) -> None:
        self.trips = 0
        self.rows = 0
        self.schema = schema.insert(0, pa.field("file_month", pa.date32()))
        self._month = month
        self._what = f"{name}: its trips outside of {month:%Y-%m}"
        self._judge = judge
        with explained_disk_errors(self._what):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed by close()
            self._writer = pa.ipc.new_stream(pa.PythonFile(self._file, mode="w"), self.schema)

    def divert(self, batches: Iterable[pa.RecordBatch], start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            inside, strays = split_strays(batch, start, end)
            self.trips += inside.num_rows
            if strays.num_rows:
                self.rows += strays.num_rows
                self._judge(self.trips, self.rows)
                months = pa.array([self._month] * strays.num_rows, pa.date32())
                kept = pa.RecordBatch.from_arrays([months, *strays.columns], schema=self.schema)
                with explained_disk_errors(self._what):
                    self._writer.write_batch(kept)
            yield inside

    def batches(self) -> Iterator[pa.RecordBatch]:
        with explained_disk_errors(self._what):
            self._writer.close()
            self._file.seek(0)
        yield from pa.ipc.open_stream(pa.PythonFile(self._file, mode="r"))

    def close(self) -> None:
        # On a full disk closing writes again, and fails again.
        with contextlib.suppress(OSError):
            self._file.close()
