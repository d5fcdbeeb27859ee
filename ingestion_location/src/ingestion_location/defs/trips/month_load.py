"""Loading one month, from its URL to the commit."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from ingestion_location.defs.trips import trip_ledger
from ingestion_location.defs.trips.month_partition import replace_month, trips_by_day
from ingestion_location.defs.trips.trip_file import TripFile
from ingestion_location.defs.trips.trip_ledger import LoadedTripFile
from ingestion_location.defs.trips.trip_stats import TripStats
from ingestion_location.progress import Log, Phases, Progress
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse


@dataclass(frozen=True)
class LoadedMonth:
    """The result of a load, with the trips of all months and the wall-clock seconds of each phase."""

    file: LoadedTripFile
    neighbours: list[LoadedTripFile]
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
    log: Log,
    *,
    skip_unchanged: bool = False,
) -> LoadedMonth:
    """Loads the month ``[start, end)`` from its file at the source.

    One transaction replaces trips, strays and the ledger's row, so any order, repetition, overlap or crash of loads
    leaves each month as its last committed load wrote it.

    Raises:
        Unchanged: ``skip_unchanged`` is set, and the source still has the file that the month was loaded from.
        LoadError: the file could not be fetched or loaded, or another session held a lock for too long.
        psycopg2.Error: the server failed or refused.
    """
    month = start.date()
    url = source.trips_url(month)
    phases = Phases(log)
    known = _read_known(warehouse, month, url) if skip_unchanged else None
    with contextlib.ExitStack() as stack:
        with phases.phase("download"):
            fetched = stack.enter_context(source.fetch(url, log, known))
        trip_file = TripFile(fetched.file, url)
        log(f"{url}: {trip_file.rows:,} rows, {fetched.bytes:,} bytes")
        connection = stack.enter_context(warehouse.transaction())
        progress = Progress(log, "loaded", "rows", trip_file.rows)
        mapping = trip_file.mapping
        stats, strays = replace_month(connection, trip_file.batches(), mapping.schema, start, end, phases, progress.add)
        file = LoadedTripFile.of(
            fetched,
            run_id,
            month=month,
            rows=stats.rows + strays,
            strays=strays,
            unknown_columns=list(mapping.unknown),
            missing_columns=list(mapping.missing(source.taxi_type, month)),
        )
        with connection.cursor() as cursor:
            # In the transaction of the swap, so trips and ledger agree.
            trip_ledger.write(cursor, file)
            neighbours = trip_ledger.read_neighbours(cursor, month)
            total_trips = trip_ledger.total_trips(cursor)
        with phases.phase("commit"):
            connection.commit()
    return LoadedMonth(file, neighbours, stats, stats.by_day(month, end.date()), total_trips, phases.seconds)


def read_month(
    warehouse: Warehouse, start: datetime, end: datetime
) -> tuple[LoadedTripFile, list[LoadedTripFile], Mapping[date, int]]:
    """Reads a loaded month from the warehouse: its row of the ledger, its neighbours' rows, and its trips per day."""
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        file = trip_ledger.read(cursor, start.date())
        assert file is not None
        return file, trip_ledger.read_neighbours(cursor, start.date()), trips_by_day(cursor, start, end)


def _read_known(warehouse: Warehouse, month: date, url: str) -> LoadedTripFile | None:
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        file = trip_ledger.read(cursor, month)
    # A file at another URL may have the same ETag.
    return file if file is not None and file.url == url else None
