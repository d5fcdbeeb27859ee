"""A month is replaced as a whole or not at all, whatever else happens at the same time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from ingestion_location.trip_schema import ARROW_SCHEMA, COLUMNS
from ingestion_location.trips_table import replace_month
from ingestion_location.warehouse import Warehouse

JANUARY = (datetime(2023, 1, 1), datetime(2023, 2, 1))
FEBRUARY = (datetime(2023, 2, 1), datetime(2023, 3, 1))
COUNTS = "select (select count(*) from raw_taxis.trips), (select count(*) from raw_taxis.stray_trips)"


def batch(*pickups: datetime, **values: Any) -> pa.RecordBatch:
    """Canonical trips with these pickups; the other columns are the given values, or null."""
    trips = [{"pickup_datetime": pickup, **values} for pickup in pickups]
    return pa.RecordBatch.from_pylist(trips, schema=ARROW_SCHEMA)


def load(warehouse: Warehouse, month: tuple[datetime, datetime], *batches: pa.RecordBatch) -> tuple[int, int]:
    """Loads a month and returns its trips and strays."""
    with warehouse.transaction() as connection:
        loaded = replace_month(connection, batches, *month)
    return loaded.trips, loaded.strays


def test_every_value_of_every_column_arrives_as_it_was(warehouse: Warehouse, query: Any) -> None:
    values = {
        "timestamp": datetime(2023, 1, 2, 3, 4, 5, 678_901),
        "smallint": -32_768,
        "double precision": -0.1,
        "text": "ünicode\t\n\\N",
    }
    full = {column.name: values[column.postgres] for column in COLUMNS}
    empty = {**dict.fromkeys(full), "pickup_datetime": values["timestamp"]}
    load(warehouse, JANUARY, pa.RecordBatch.from_pylist([full, empty], schema=ARROW_SCHEMA))
    names = ", ".join(full)
    assert query(f"select {names} from raw_taxis.trips order by vendor_id") == [
        tuple(full.values()),
        tuple(empty.values()),
    ]


def test_a_stray_is_kept_with_the_month_of_its_file(warehouse: Warehouse, query: Any) -> None:
    assert load(warehouse, JANUARY, batch(JANUARY[0], FEBRUARY[0])) == (1, 1)
    assert query("select file_month::text, pickup_datetime from raw_taxis.stray_trips") == [("2023-01-01", FEBRUARY[0])]


def test_a_reload_replaces_the_months_trips_and_strays(warehouse: Warehouse, query: Any) -> None:
    load(warehouse, JANUARY, batch(*[JANUARY[0]] * 3, FEBRUARY[0]))
    load(warehouse, JANUARY, batch(*[JANUARY[0]] * 2))
    assert query(COUNTS) == [(2, 0)]


def test_a_reload_leaves_the_other_months_alone(warehouse: Warehouse, query: Any) -> None:
    load(warehouse, FEBRUARY, batch(FEBRUARY[0], JANUARY[0]))
    load(warehouse, JANUARY, batch(JANUARY[0]))
    load(warehouse, JANUARY)
    assert query(COUNTS) == [(1, 1)]


def test_loading_a_month_twice_leaves_the_same_table(warehouse: Warehouse, query: Any) -> None:
    trips = batch(JANUARY[0], JANUARY[0] + timedelta(hours=1), total_amount=5.0)
    load(warehouse, JANUARY, trips)
    once = query("select * from raw_taxis.trips order by pickup_datetime")
    load(warehouse, JANUARY, trips)
    assert query("select * from raw_taxis.trips order by pickup_datetime") == once


def test_a_file_without_trips_makes_an_empty_month(warehouse: Warehouse, query: Any) -> None:
    load(warehouse, JANUARY, batch(JANUARY[0]))
    load(warehouse, JANUARY)
    assert query(COUNTS) == [(0, 0)]


def test_a_load_that_breaks_off_leaves_the_old_month_and_no_table(warehouse: Warehouse, query: Any) -> None:
    def breaks_off() -> Iterator[pa.RecordBatch]:
        yield batch(*[JANUARY[0]] * 100, FEBRUARY[0])
        raise OSError("the file ends here")

    load(warehouse, JANUARY, batch(JANUARY[0]))
    with pytest.raises(OSError, match="the file ends here"), warehouse.transaction() as connection:
        replace_month(connection, breaks_off(), *JANUARY)
    assert query(COUNTS) == [(1, 0)]
    assert (
        query("select relname from pg_class where relname like 'trips_2023%new' or relname like 'trips_2023__2'") == []
    )


def test_months_loaded_at_once_do_not_lock_one_another_out(warehouse: Warehouse, query: Any) -> None:
    months = [(datetime(2023, month, 1), datetime(2023, month + 1, 1)) for month in (1, 2, 3, 4)]
    for _ in range(5):
        together = threading.Barrier(len(months))

        def at_once(month: tuple[datetime, datetime], together: threading.Barrier = together) -> None:
            together.wait()
            load(warehouse, month, batch(*[month[0]] * 10))

        with ThreadPoolExecutor(len(months)) as pool:
            list(pool.map(at_once, months))
    assert query(COUNTS) == [(40, 0)]


def test_one_month_loaded_twice_at_once_is_one_clean_month(warehouse: Warehouse, query: Any) -> None:
    together = threading.Barrier(2)

    def at_once(amount: float) -> None:
        together.wait()
        load(warehouse, JANUARY, batch(*[JANUARY[0]] * 10, FEBRUARY[0], total_amount=amount))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(at_once, (1.0, 2.0)))
    assert query("select count(*), count(distinct total_amount) from raw_taxis.trips") == [(10, 1)]
    assert query("select count(*) from raw_taxis.stray_trips") == [(1,)]


def test_readers_see_the_old_month_or_the_new_one_and_nothing_between(warehouse: Warehouse, query: Any) -> None:
    sizes = (10, 1_000)
    load(warehouse, JANUARY, batch(*[JANUARY[0]] * sizes[0]))
    reloaded = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not reloaded.is_set():
            seen.add(query("select count(*) from raw_taxis.trips")[0][0])

    reader = threading.Thread(target=read)
    reader.start()
    for round_ in range(20):
        load(warehouse, JANUARY, batch(*[JANUARY[0]] * sizes[round_ % 2]))
    reloaded.set()
    reader.join()
    assert seen == set(sizes)
