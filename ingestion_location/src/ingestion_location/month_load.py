"""Loading one month, from its URL to the commit."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from ingestion_location import trip_files
from ingestion_location.progress import Phases, Progress, Say
from ingestion_location.source import TlcSource
from ingestion_location.trip_file import TripFile
from ingestion_location.trip_files import TripFileRecord
from ingestion_location.trip_stats import TripStats
from ingestion_location.trips_table import replace_month, trips_by_day
from ingestion_location.warehouse import Warehouse


@dataclass(frozen=True)
class LoadedMonth:
    """What a load did.

    Attributes:
        record: the month's line in the ledger.
        neighbours: the lines of the months before and after it, those that are loaded.
        stats: counts over the month's trips.
        by_day: trips per day of the month.
        total_trips: trips of all loaded months.
        seconds: wall-clock seconds per phase: ``download``, ``copy``, ``index``, ``swap``, ``commit``.
    """

    record: TripFileRecord
    neighbours: list[TripFileRecord]
    stats: TripStats
    by_day: Mapping[date, int]
    total_trips: int
    seconds: Mapping[str, float]


def load_month(
    source: TlcSource,
    warehouse: Warehouse,
    start: datetime,
    end: datetime,
    run_id: str,
    say: Say,
    *,
    skip_unchanged: bool = False,
) -> LoadedMonth:
    """Loads the month ``[start, end)`` from its file at the source.

    Whatever fails, and whenever, the month that was there stays: everything that is written is one transaction.

    Args:
        source: where the file is.
        warehouse: where the trips go.
        start: first moment of the month.
        end: first moment of the next month.
        run_id: for the ledger.
        say: takes a line about the progress.
        skip_unchanged: do nothing where the source still has the file that the month was loaded from.

    Raises:
        Unchanged: the month was skipped.
        SourceError: the file could not be fetched.
        TripFileError: the file cannot be loaded.
        LockError: others held a lock for too long.
        psycopg2.Error: the warehouse failed or refused.
    """
    month = start.date()
    url = source.trips_url(month)
    phases = Phases(say)
    known = _known(warehouse, month, url) if skip_unchanged else None
    with contextlib.ExitStack() as stack:
        with phases.phase("download"):
            fetched = stack.enter_context(source.fetch(url, say, known))
        file = TripFile(fetched.file, url)
        say(f"{url}: {file.rows:,} rows, {fetched.bytes:,} bytes")
        connection = stack.enter_context(warehouse.transaction())
        progress = Progress(say, "loaded", "rows", file.rows)
        stats, strays = replace_month(connection, file.batches(), file.mapping.schema, start, end, phases, progress.add)
        record = TripFileRecord(
            month=month,
            url=url,
            etag=fetched.etag,
            last_modified=fetched.last_modified,
            bytes=fetched.bytes,
            sha256=fetched.sha256,
            rows=stats.rows + strays,
            strays=strays,
            unknown_columns=list(file.mapping.unknown),
            missing_columns=list(file.mapping.missing(source.taxi_type, month)),
            run_id=run_id,
        )
        with connection.cursor() as cursor:
            # In the transaction of the swap, so what is loaded and what is known about it never disagree.
            trip_files.write(cursor, record)
            neighbours = trip_files.neighbours(cursor, month)
            total_trips = trip_files.total_trips(cursor)
        with phases.phase("commit"):
            connection.commit()
    return LoadedMonth(record, neighbours, stats, stats.by_day(month, end.date()), total_trips, phases.seconds)


def read_month(
    warehouse: Warehouse, start: datetime, end: datetime
) -> tuple[TripFileRecord, list[TripFileRecord], Mapping[date, int]]:
    """Reads a loaded month from the warehouse: its line in the ledger, its neighbours' lines, and its trips per day.

    Raises:
        psycopg2.Error: the warehouse failed.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        record = trip_files.look_up(cursor, start.date())
        assert record is not None
        return record, trip_files.neighbours(cursor, start.date()), trips_by_day(cursor, start, end)


def _known(warehouse: Warehouse, month: date, url: str) -> TripFileRecord | None:
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        record = trip_files.look_up(cursor, month)
    # Another address may have another file under the same ETag.
    return record if record is not None and record.url == url else None
