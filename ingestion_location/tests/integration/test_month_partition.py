"""A month is replaced as a whole or not at all, whatever other sessions do at the same time."""

import math
import resource
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from ingestion_location.defs.trips.month_partition import absurd_numbers, replace_month, trips_by_day
from ingestion_location.defs.trips.trip_schema import ARROW_SCHEMA, COLUMNS, Absurd
from ingestion_location.progress import Phases
from ingestion_location.source_errors import SourceError
from ingestion_location.warehouse import Warehouse

from ingestion_location import locks

JANUARY = (datetime(2023, 1, 1), datetime(2023, 2, 1))
FEBRUARY = (datetime(2023, 2, 1), datetime(2023, 3, 1))
COUNTS = "select (select count(*) from raw_taxis.trips), (select count(*) from raw_taxis.stray_trips)"
LEFT_OVER = """
select relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where nspname = 'raw_taxis' and relkind = 'r' and not relispartition and relname like 'trips_2%'
"""


def batch(*pickups: datetime, **values: Any) -> pa.RecordBatch:
    """Canonical trips with these pickups; the other columns are the given values, or null."""
    trips = [{"pickup_datetime": pickup, **values} for pickup in pickups]
    return pa.RecordBatch.from_pylist(trips, schema=ARROW_SCHEMA)


def load(warehouse: Warehouse, month: tuple[datetime, datetime], *batches: pa.RecordBatch) -> tuple[int, int]:
    """Loads a month and returns its trips and strays."""
    return load_all(warehouse, month, batches)


def load_all(
    warehouse: Warehouse, month: tuple[datetime, datetime], batches: Iterable[pa.RecordBatch]
) -> tuple[int, int]:
    """Loads a month from batches that are made while it is loaded."""
    with warehouse.transaction() as connection:
        stats, strays = replace_month(connection, batches, ARROW_SCHEMA, *month, Phases(lambda line: None))
    return stats.rows, strays


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
    with pytest.raises(OSError, match="the file ends here"):
        load_all(warehouse, JANUARY, breaks_off())
    assert query(COUNTS) == [(1, 0)]
    assert query(LEFT_OVER) == []


# One stray is written when the spool is read, many while they are copied.
@pytest.mark.parametrize("strays", [1, 10_000])
def test_strays_that_have_no_room_on_the_disk_leave_the_month_and_say_what_to_do(
    warehouse: Warehouse, query: Any, strays: int
) -> None:
    load(warehouse, JANUARY, batch(JANUARY[0]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(SourceError) as full:
            load(warehouse, JANUARY, batch(*[FEBRUARY[0]] * strays))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = f"the file: its trips outside of 2023-01 cannot be kept in {tempfile.gettempdir()} ("
    assert str(full.value).startswith(message)
    assert "Make room there, or set TMPDIR to another folder, then launch the run again." in str(full.value)
    assert query(COUNTS) == [(1, 0)]


def test_tables_from_before_a_column_get_it_and_keep_their_trips(warehouse: Warehouse, query: Any) -> None:
    load(warehouse, JANUARY, batch(datetime(2023, 1, 5), datetime(2023, 3, 1), airport_fee=1.25))
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("alter table raw_taxis.trips drop column airport_fee")
        cursor.execute("alter table raw_taxis.stray_trips drop column airport_fee")
    assert load(warehouse, FEBRUARY, batch(datetime(2023, 2, 5), datetime(2023, 3, 2), airport_fee=2.5)) == (1, 1)
    rows = "select airport_fee from raw_taxis.{} order by pickup_datetime"
    assert (query(rows.format("trips")), query(rows.format("stray_trips"))) == ([(None,), (2.5,)], [(None,), (2.5,)])


def test_a_column_of_another_release_stays_and_is_null_in_what_this_one_loads(warehouse: Warehouse, query: Any) -> None:
    load(warehouse, JANUARY, batch(datetime(2023, 1, 5)))
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("alter table raw_taxis.trips add column surge smallint")
        cursor.execute("update raw_taxis.trips set surge = 7")
    load(warehouse, FEBRUARY, batch(datetime(2023, 2, 5)))
    assert query("select surge from raw_taxis.trips order by pickup_datetime") == [(7,), (None,)]


def test_columns_that_a_file_lacks_are_null(warehouse: Warehouse, query: Any) -> None:
    schema = pa.schema([ARROW_SCHEMA.field("total_amount"), ARROW_SCHEMA.field("pickup_datetime")])
    trips = pa.RecordBatch.from_pylist([{"pickup_datetime": JANUARY[0], "total_amount": 5.0}], schema=schema)
    with warehouse.transaction() as connection:
        replace_month(connection, [trips], schema, *JANUARY, Phases(lambda line: None))
    assert query("select pickup_datetime, total_amount, tip_amount from raw_taxis.trips") == [(JANUARY[0], 5.0, None)]


def test_the_trips_of_each_day_are_counted_and_a_day_without_trips_is_zero(warehouse: Warehouse) -> None:
    load(warehouse, JANUARY, batch(JANUARY[0], JANUARY[0] + timedelta(days=1, microseconds=-1), FEBRUARY[0]))
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        by_day = trips_by_day(cursor, *JANUARY)
    assert list(by_day.values()) == [2, *[0] * 30]


def test_absurd_numbers_of_a_month_are_counted_per_column_and_the_largest_is_kept_with_its_sign(
    warehouse: Warehouse,
) -> None:
    # The last one is a stray, the first one exactly the bound.
    amounts = [(JANUARY, 10_000.0), (JANUARY, -10_000.5), (JANUARY, 10_000.2), (FEBRUARY, 1e9)]
    load(warehouse, JANUARY, *[batch(month[0], total_amount=amount) for month, amount in amounts])
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        assert absurd_numbers(cursor, *JANUARY) == {"total_amount": Absurd(2, -10_000.5)}


def test_a_month_of_an_earlier_version_shows_its_nan_as_absurd(warehouse: Warehouse) -> None:
    load(warehouse, JANUARY, batch(JANUARY[0], total_amount=1.0), batch(JANUARY[0], total_amount=math.nan))
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        (found,) = absurd_numbers(cursor, *JANUARY).values()
    assert (found.trips, f"{found.largest}") == (1, "nan")


def test_months_loaded_at_the_same_time_do_not_deadlock(warehouse: Warehouse, query: Any) -> None:
    months = [(datetime(2023, month, 1), datetime(2023, month + 1, 1)) for month in (1, 2, 3, 4)]
    for _ in range(5):
        together = threading.Barrier(len(months))

        def at_once(month: tuple[datetime, datetime], together: threading.Barrier = together) -> None:
            together.wait()
            load(warehouse, month, batch(*[month[0]] * 10))

        with ThreadPoolExecutor(len(months)) as pool:
            list(pool.map(at_once, months))
    assert query(COUNTS) == [(40, 0)]


def test_one_month_loaded_twice_at_the_same_time_is_the_month_of_one_of_them(warehouse: Warehouse, query: Any) -> None:
    together = threading.Barrier(2)

    def at_once(amount: float) -> None:
        together.wait()
        load(warehouse, JANUARY, batch(*[JANUARY[0]] * 10, FEBRUARY[0], total_amount=amount))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(at_once, (1.0, 2.0)))
    assert query("select count(*), count(distinct total_amount) from raw_taxis.trips") == [(10, 1)]
    assert query("select count(*) from raw_taxis.stray_trips") == [(1,)]


def test_a_month_loads_and_is_read_while_the_copy_of_another_goes_on(warehouse: Warehouse, query: Any) -> None:
    seen = []

    def february_in_the_middle() -> Iterator[pa.RecordBatch]:
        yield batch(*[JANUARY[0]] * 10)
        seen.append(load(warehouse, FEBRUARY, batch(FEBRUARY[0])))
        seen.append(query(COUNTS)[0])

    load_all(warehouse, JANUARY, february_in_the_middle())
    assert (seen, query(COUNTS)) == ([(1, 0), (1, 0)], [(11, 0)])


def test_readers_see_the_old_month_or_the_new_one_and_nothing_between(warehouse: Warehouse, query: Any) -> None:
    sizes = (10, 1_000)
    load(warehouse, JANUARY, batch(*[JANUARY[0]] * sizes[0]))
    reloaded = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not reloaded.is_set():
            seen.add(query("select count(*) from raw_taxis.trips")[0][0])

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for round_ in range(20):
            load(warehouse, JANUARY, batch(*[JANUARY[0]] * sizes[round_ % 2]))
        reloaded.set()
        reader.result()
    assert seen == set(sizes)


def test_a_reader_of_an_older_snapshot_sees_the_new_month_rather_than_none(warehouse: Warehouse) -> None:
    load(warehouse, JANUARY, batch(JANUARY[0]))
    with warehouse.transaction() as older, older.cursor() as cursor:
        older.set_session(isolation_level="repeatable read")
        cursor.execute("select 1")
        load(warehouse, JANUARY, batch(*[JANUARY[0]] * 5))
        cursor.execute("select count(*) from raw_taxis.trips")
        assert cursor.fetchall() == [(5,)]


def test_a_load_waits_for_a_reader_of_the_month_without_keeping_others_out(warehouse: Warehouse, query: Any) -> None:
    load(warehouse, JANUARY, batch(JANUARY[0]))
    waits = threading.Event()

    def reload() -> None:
        with warehouse.transaction() as connection:
            phases = Phases(lambda line: waits.set() if line.startswith("waiting for the readers") else None)
            replace_month(connection, [batch(*[JANUARY[0]] * 5)], ARROW_SCHEMA, *JANUARY, phases)

    with ThreadPoolExecutor(1) as pool:
        with warehouse.transaction() as reading, reading.cursor() as cursor:
            cursor.execute("select count(*) from raw_taxis.trips")
            reloading = pool.submit(reload)
            assert waits.wait(30)
            assert query("select count(*) from raw_taxis.trips") == [(1,)]
        reloading.result(30)
    assert query("select count(*) from raw_taxis.trips") == [(5,)]


def test_a_load_that_does_not_get_its_lock_gives_up_and_names_who_held_it(
    warehouse: Warehouse, query: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "ATTEMPT_SECONDS", 0.1)
    monkeypatch.setattr(locks, "GIVE_UP_SECONDS", 0.2)
    load(warehouse, JANUARY, batch(JANUARY[0]))
    with warehouse.transaction() as reading, reading.cursor() as cursor:
        cursor.execute("select count(*) from raw_taxis.trips")
        with pytest.raises(locks.LockError, match=r"^waited 0 s for the readers of raw_taxis\.trips: the role in"):
            load(warehouse, JANUARY, batch(*[JANUARY[0]] * 5))
    assert query(COUNTS) == [(1, 0)]
    assert query(LEFT_OVER) == []


def test_the_caller_commits_so_what_it_writes_itself_is_part_of_the_load(warehouse: Warehouse, query: Any) -> None:
    load(warehouse, JANUARY, batch(JANUARY[0]))

    def reload_and_fail() -> None:
        with warehouse.transaction() as connection, connection.cursor() as cursor:
            replace_month(connection, [batch(*[JANUARY[0]] * 5)], ARROW_SCHEMA, *JANUARY, Phases(lambda line: None))
            cursor.execute("insert into raw_taxis.trip_files (month) values ('2023-01-01')")

    with pytest.raises(psycopg2.errors.NotNullViolation):
        reload_and_fail()
    assert query(COUNTS) == [(1, 0)]
