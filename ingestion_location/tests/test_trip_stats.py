"""What is recorded about a month's trips is counted while they stream by."""

from datetime import date, datetime
from typing import Any

import pyarrow as pa
from ingestion_location.defs.trips.trip_schema import ARROW_SCHEMA
from ingestion_location.defs.trips.trip_stats import TripStats


def stats(*batches: list[dict[str, Any]], schema: pa.Schema = ARROW_SCHEMA) -> TripStats:
    """Counts some batches of trips."""
    counted = TripStats()
    for _ in counted.watch(pa.RecordBatch.from_pylist(batch, schema=schema) for batch in batches):
        pass
    return counted


def trip(day: int, hour: int = 0, **values: Any) -> dict[str, Any]:
    return {"pickup_datetime": datetime(2024, 2, day, hour), **values}


def test_the_first_and_the_last_pickup_are_found_across_batches() -> None:
    counted = stats([trip(5), trip(2, 3)], [], [trip(9, 4), trip(7)])
    assert (counted.rows, counted.first_pickup, counted.last_pickup) == (
        4,
        datetime(2024, 2, 2, 3),
        datetime(2024, 2, 9, 4),
    )


def test_a_trip_counts_for_the_day_of_its_pickup_up_to_the_last_microsecond() -> None:
    last = {"pickup_datetime": datetime(2024, 2, 28, 23, 59, 59, 999_999)}
    by_day = stats([last, trip(29)], [trip(29, 23)]).by_day(date(2024, 2, 27), date(2024, 3, 1))
    assert by_day == {date(2024, 2, 27): 0, date(2024, 2, 28): 1, date(2024, 2, 29): 2}


def test_nulls_are_counted_per_column() -> None:
    counted = stats([trip(1, passenger_count=1), trip(1)], [trip(2)])
    assert (counted.nulls["passenger_count"], counted.nulls["total_amount"]) == (2, 3)


def test_a_column_that_the_file_lacks_is_null_in_every_trip() -> None:
    schema = pa.schema([ARROW_SCHEMA.field("pickup_datetime")])
    assert stats([trip(1), trip(2)], schema=schema).nulls["tip_amount"] == 2


def test_no_trips_have_no_first_and_no_last() -> None:
    counted = stats([])
    assert (counted.rows, counted.first_pickup, counted.last_pickup) == (0, None, None)
