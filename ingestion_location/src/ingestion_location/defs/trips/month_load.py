"""Loading one month, from its URL to the commit."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from ingestion_location.defs.trips import trip_ledger
from ingestion_location.defs.trips.month_partition import absurd_numbers, replace_month, trips_by_day
from ingestion_location.defs.trips.trip_file import TripFile
from ingestion_location.defs.trips.trip_ledger import LoadedTripFile
from ingestion_location.defs.trips.trip_schema import Absurd, TripFileError
from ingestion_location.defs.trips.trip_stats import TripStats
from ingestion_location.progress import Log, Phases, Progress
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse

# Months of the TLC have a few strays per 10,000 trips; the file of another month has hardly anything else.
MOST_STRAYS = 0.1


@dataclass(frozen=True)
class LoadedMonth:
    """A month as the warehouse has it, and its load.

    Attributes:
        absurd: absurd numbers of its trips, per column that has any.
        total_trips: trips of all months.
        stats: counts of the load; None if the month was only read.
        seconds: wall-clock seconds of each phase of the load.
    """

    file: LoadedTripFile
    neighbours: list[LoadedTripFile]
    by_day: Mapping[date, int]
    absurd: Mapping[str, Absurd]
    total_trips: int
    stats: TripStats | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def load_month(
    source: TlcSource,
    warehouse: Warehouse,
    start: datetime,
    end: datetime,
    run_id: str,
    log: Log,
    *,
    skip_unchanged: bool = False,
    accept_strays: bool = False,
) -> LoadedMonth:
    """Loads the month ``[start, end)`` from its file at the source.

    One transaction replaces trips, strays and the ledger's row, so any order, repetition, overlap or crash of loads
    leaves each month as its last committed load wrote it.

    Raises:
        Unchanged: ``skip_unchanged`` is set, and the source still has the file that the month was loaded from.
        LoadError: the file could not be fetched or loaded, is not that of the month unless ``accept_strays`` is set, or
            another session held a lock for too long.
        psycopg2.Error: the server failed or refused.
    """
    month = start.date()
    url = source.trips_url(month)
    phases = Phases(log)
    known = _read_known(warehouse, month, url) if skip_unchanged else None
    with contextlib.ExitStack() as stack:
        with phases.phase("download"):
            fetched = stack.enter_context(source.fetch(url, log, known=known))
        trip_file = TripFile(fetched.file, url)
        log(f"{url}: {trip_file.rows:,} rows, {fetched.bytes:,} bytes")
        connection = stack.enter_context(warehouse.transaction())
        progress = Progress(log, "loaded", "rows", trip_file.rows)
        mapping = trip_file.mapping

        def judge(trips: int, strays: int) -> None:
            if not accept_strays:
                refuse_other_month(url, month, trip_file.rows, trips, strays)

        batches = trip_file.batches()
        stats, strays = replace_month(
            connection,
            batches,
            mapping.schema,
            start,
            end,
            phases,
            progress.add,
            judge,
            url,
            warehouse.lock_wait_seconds,
        )
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
        with connection.cursor() as cursor:
            # After the commit, as it reads the month, and hardly ever needed.
            absurd = absurd_numbers(cursor, start, end) if mapping.absurd else {}
    by_day = stats.by_day(month, end.date())
    return LoadedMonth(file, neighbours, by_day, absurd, total_trips, stats, phases.seconds)


def refuse_other_month(url: str, month: date, rows: int, trips: int, strays: int) -> None:
    """Raises a TripFileError once a file of so many rows, which begins with these, cannot be that of the month.

    So the file of another month is refused before many of its trips are copied.
    """
    # As if all rows that follow were trips of the month.
    most_trips = max(trips, rows - strays)
    rows = most_trips + strays
    if most_trips and strays <= MOST_STRAYS * rows:
        return
    at_most, at_least = ("at most ", "at least ") if trips < most_trips else ("", "")
    raise TripFileError(
        f"{url}: {at_most}{most_trips:,} of its {rows:,} trips were picked up in {month:%Y-%m}, and {at_least}"
        f"{strays:,} outside of it or at an unknown time. A month's file has trips of the month, and at most "
        f"{MOST_STRAYS:.0%} others. The month that was there stays. Check what the source has at this address. If the "
        # YAML in one line, so that it can be copied from wherever the message is shown.
        "file is right, launch the run with the config {ops: {taxi_trips: {config: {accept_strays: true}}}}."
    )


def read_month(warehouse: Warehouse, start: datetime, end: datetime) -> LoadedMonth:
    """Reads a loaded month from the warehouse."""
    month = start.date()
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        file = trip_ledger.read(cursor, month)
        assert file is not None
        neighbours = trip_ledger.read_neighbours(cursor, month)
        by_day, absurd = trips_by_day(cursor, start, end), absurd_numbers(cursor, start, end)
        return LoadedMonth(file, neighbours, by_day, absurd, trip_ledger.total_trips(cursor))


def _read_known(warehouse: Warehouse, month: date, url: str) -> LoadedTripFile | None:
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        file = trip_ledger.read(cursor, month)
    # A file at another URL may have the same ETag.
    return file if file is not None and file.url == url else None
