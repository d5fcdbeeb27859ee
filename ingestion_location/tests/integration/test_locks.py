"""No other role delays a load for longer than the stated time, whatever it may do in the warehouse.

The other role is dbt_location, with the rights that the stack gives it.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from ingestion_location.defs.trips.month_partition import replace_month
from ingestion_location.defs.trips.trip_schema import ARROW_SCHEMA
from ingestion_location.defs.zones.taxi_zones import replace_zones
from ingestion_location.progress import Phases
from ingestion_location.warehouse import Warehouse
from psycopg2 import errors

from ingestion_location import locks

JANUARY = (datetime(2023, 1, 1), datetime(2023, 2, 1))
TRIPS = "select count(*) from raw_taxis.trips"
# As long as a load waits for others here.
READER_TIMEOUT = 0.3
OTHER = "dbt_location"
Session = Callable[..., Any]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "ATTEMPT_SECONDS", 0.2)
    monkeypatch.setattr(locks, "GIVE_UP_SECONDS", 60.0)


@pytest.fixture
def gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a load that cannot get its lock fail soon, though late enough to see who has it."""
    monkeypatch.setattr(locks, "GIVE_UP_SECONDS", 3.0)


@pytest.fixture
def session(warehouse: Warehouse) -> Iterator[Session]:
    """Starts a session of a role, runs statements in its transaction and leaves that open; returns the connection."""
    with ExitStack() as stack:

        def start(*statements: str, role: str = OTHER) -> Any:
            connection = psycopg2.connect(
                host=warehouse.host, dbname="warehouse", user=role, application_name=f"a session of {role}"
            )
            stack.enter_context(closing(connection))
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
            return connection

        yield start


def trips_of(day: datetime, trips: int = 1) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"pickup_datetime": day}] * trips, schema=ARROW_SCHEMA)


def load(warehouse: Warehouse, trips: int, log: Callable[[str], None] = lambda line: None) -> None:
    with warehouse.transaction() as connection:
        replace_month(
            connection,
            [trips_of(JANUARY[0], trips)],
            ARROW_SCHEMA,
            *JANUARY,
            Phases(log),
            reader_timeout=READER_TIMEOUT,
        )


def is_open(connection: Any) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except psycopg2.OperationalError:
        return False
    return True


@pytest.mark.parametrize(
    "before",
    [(), ("create temporary table written (number int)", "insert into written values (1)")],
    ids=["reads", "has written tables of its own"],
)
def test_a_session_of_another_role_that_reads_the_trips_is_ended_after_the_stated_time(
    warehouse: Warehouse, query: Any, session: Session, before: tuple[str, ...]
) -> None:
    load(warehouse, 1)
    reader = session(*before, TRIPS)
    pid = reader.info.backend_pid
    lines: list[str] = []
    load(warehouse, 5, lines.append)
    assert query(TRIPS) == [(5,)]
    assert not is_open(reader)
    who = f"the role {OTHER} (process {pid}, application 'a session of {OTHER}', in a transaction"
    assert [line.partition(" since")[0] for line in lines if OTHER in line] == [
        f"blocked by {who}",
        f"ended, after 0 s, as it only reads: {who}",
    ]


def test_a_reader_that_ends_before_the_stated_time_is_not_ended(
    warehouse: Warehouse, query: Any, session: Session
) -> None:
    load(warehouse, 1)
    reader = session(TRIPS)
    waits = threading.Event()

    def reload() -> None:
        with warehouse.transaction() as connection:
            phases = Phases(lambda line: waits.set() if line.startswith("blocked by") else None)
            replace_month(connection, [trips_of(JANUARY[0], 5)], ARROW_SCHEMA, *JANUARY, phases, reader_timeout=600)

    with ThreadPoolExecutor(1) as pool:
        reloading = pool.submit(reload)
        assert waits.wait(30)
        assert is_open(reader)
        reader.commit()
        reloading.result(30)
    assert is_open(reader)
    assert query(TRIPS) == [(5,)]


def test_readers_that_come_again_and_again_do_not_overtake_the_load(warehouse: Warehouse, query: Any) -> None:
    load(warehouse, 1)
    loaded = threading.Event()

    def read_again_and_again() -> None:
        while not loaded.is_set():
            try:
                reader = psycopg2.connect(host=warehouse.host, dbname="warehouse", user=OTHER)
                with closing(reader), reader.cursor() as cursor:
                    # Longer than an attempt, so that in each one somebody reads.
                    cursor.execute(f"{TRIPS}; select pg_sleep(2)")
            except psycopg2.OperationalError:
                continue

    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(read_again_and_again)
        try:
            while query(f"select count(*) from pg_stat_activity where usename = '{OTHER}'") != [(8,)]:
                time.sleep(0.01)
            load(warehouse, 5)
        finally:
            loaded.set()
    assert query(TRIPS) == [(5,)]


@pytest.mark.usefixtures("gives_up")
def test_the_session_of_a_backup_is_named_and_not_ended(warehouse: Warehouse, query: Any, session: Session) -> None:
    load(warehouse, 1)
    backup = session(TRIPS, role="postgres")
    with pytest.raises(locks.LockError, match=rf"the role postgres \(process {backup.info.backend_pid}, "):
        load(warehouse, 5)
    assert is_open(backup)
    assert query(TRIPS) == [(1,)]


@pytest.mark.usefixtures("gives_up")
def test_a_session_that_writes_the_trips_is_named_and_not_ended(
    warehouse: Warehouse, query: Any, session: Session
) -> None:
    load(warehouse, 1)
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(f"grant update on raw_taxis.trips to {OTHER}")
    writer = session("update raw_taxis.trips set total_amount = 1")
    with pytest.raises(locks.LockError, match=rf"the role {OTHER} \(process {writer.info.backend_pid}, ") as error:
        load(warehouse, 5)
    assert "and the sensor requests the load again" in str(error.value)
    assert error.value.transient
    assert is_open(writer)


def test_another_load_of_the_month_is_waited_for_and_not_ended(warehouse: Warehouse, query: Any) -> None:
    waits = threading.Event()

    def second(line: str) -> None:
        if line.startswith("blocked by the role ingestion_location"):
            waits.set()

    def first() -> Iterator[Any]:
        yield trips_of(JANUARY[0], 3)
        running.append(pool.submit(load, warehouse, 5, second))
        assert waits.wait(30)
        # Longer than others are waited for.
        time.sleep(3 * READER_TIMEOUT)

    running: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        with warehouse.transaction() as connection:
            replace_month(connection, first(), ARROW_SCHEMA, *JANUARY, Phases(lambda line: None))
        running[0].result(30)
    assert query(TRIPS) == [(5,)]


def test_no_advisory_lock_of_another_role_delays_a_load(warehouse: Warehouse, query: Any, session: Session) -> None:
    names = ("raw_taxis tables", "raw_taxis.trips_2023_01", "raw_taxis.zones")
    session(*(f"select pg_advisory_xact_lock(hashtextextended('{name}', 0))" for name in names))
    lines: list[str] = []
    load(warehouse, 5, lines.append)
    with warehouse.transaction() as connection:
        replace_zones(connection, [(1, "a", "b", "c")], {})
    assert query(TRIPS) == [(5,)]
    assert [line for line in lines if line.startswith("waiting")] == []


@pytest.mark.parametrize("table", ["trips", "stray_trips", "trip_files", "zones", "zone_files"])
@pytest.mark.parametrize(
    "mode",
    [
        "row share",
        "row exclusive",
        "share update exclusive",
        "share",
        "share row exclusive",
        "exclusive",
        "access exclusive",
    ],
)
def test_another_role_takes_no_lock_on_a_table_but_a_readers(
    warehouse: Warehouse, session: Session, table: str, mode: str
) -> None:
    load(warehouse, 1)
    with warehouse.transaction() as connection:
        replace_zones(connection, [(1, "a", "b", "c")], {})
    session(f"lock table raw_taxis.{table} in access share mode")
    with pytest.raises(errors.InsufficientPrivilege):
        session(f"lock table raw_taxis.{table} in {mode} mode")


@pytest.mark.parametrize(
    "statement",
    [
        "create view mine.january as select from raw_taxis.trips_2023_01",
        "create table mine.january (trip raw_taxis.trips_2023_01)",
    ],
)
@pytest.mark.parametrize("held", [False, True], ids=["", "while that role holds a lock on it"])
def test_what_another_role_makes_of_a_partition_does_not_keep_it_from_being_replaced(
    warehouse: Warehouse, query: Any, session: Session, statement: str, held: bool
) -> None:
    load(warehouse, 1)
    prepare = f"drop schema if exists mine cascade; create schema mine authorization {OTHER}"
    session(prepare, role="postgres").commit()
    session(statement).commit()
    if held:
        kind = statement.split()[1]
        session(f"comment on {kind} mine.january is 'held'")
    lines: list[str] = []
    load(warehouse, 5, lines.append)
    assert query(TRIPS) == [(5,)]
    (line,) = (line for line in lines if "depends on" in line)
    assert ("is locked" if held else "mine.january") in line
    (aside,) = re.findall(r"raw_taxis\.trips_2023_01_replaced_\d+", line)
    assert query(f"select count(*) from {aside}") == [(0,)]


def test_another_role_cannot_take_the_name_of_a_months_new_table(session: Session) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        session("create table raw_taxis.trips_2023_01_new ()")


def test_only_the_tables_owner_may_end_readers(session: Session) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        session("select locks.in_the_way(1, true)")


def test_a_session_of_another_role_is_neither_named_nor_ended_for_one_that_the_caller_does_not_wait_in(
    warehouse: Warehouse, query: Any, session: Session
) -> None:
    load(warehouse, 1)
    holder = session(TRIPS)
    with ThreadPoolExecutor(1) as pool:
        waiter = session("set lock_timeout = '20s'", role="postgres")
        waiting = pool.submit(waiter.cursor().execute, "lock table raw_taxis.trips")
        pid = waiter.info.backend_pid
        while query(f"select count(*) from pg_locks where pid = {pid} and not granted") != [(1,)]:
            time.sleep(0.01)
        assert query(f"select * from locks.in_the_way({pid}, true)") == []
        assert is_open(holder)
        holder.rollback()
        waiting.result(30)


def test_the_first_loads_of_two_months_at_once_create_the_tables_once(warehouse: Warehouse, query: Any) -> None:
    months = [(datetime(2023, month, 1), datetime(2023, month + 1, 1)) for month in range(1, 5)]
    together = threading.Barrier(len(months))

    def first_load(month: tuple[datetime, datetime]) -> None:
        with warehouse.transaction() as connection:
            together.wait()
            replace_month(connection, [trips_of(month[0])], ARROW_SCHEMA, *month, Phases(lambda line: None))

    with ThreadPoolExecutor(len(months)) as pool:
        list(pool.map(first_load, months))
    assert query(TRIPS) == [(4,)]


def test_a_column_is_added_to_the_trips_whatever_another_role_has_made_of_them(
    warehouse: Warehouse, query: Any, session: Session
) -> None:
    load(warehouse, 1)
    prepare = f"drop schema if exists mine cascade; create schema mine authorization {OTHER}"
    session(prepare, role="postgres").commit()
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("alter table raw_taxis.trips drop column airport_fee")
    session(
        "create table mine.taken (trip raw_taxis.trips)", "create view mine.seen as select * from raw_taxis.trips"
    ).commit()
    holder = session("select * from mine.seen")
    load(warehouse, 5)
    assert query("select count(*), count(airport_fee) from raw_taxis.trips") == [(5, 0)]
    assert not is_open(holder)
