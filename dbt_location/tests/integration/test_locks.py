"""No other role delays a build for longer than the stated time, and a build that was kept waiting says by whom."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg2
import pytest
from dbt_location.defs.dbt_models import get_dbt_partitioned_models
from dbt_location.defs.metrics.manhattan_stats import manhattan_stats
from dbt_location.warehouse import Warehouse
from integration.conftest import failure
from psycopg2 import errors

DAY = ("2023-01-01", "2023-01-01")
OTHER = "other_location"
Session = Callable[..., Any]


@pytest.fixture
def session(query: Any, server: str) -> Iterator[Session]:
    """Starts a session of a role that may read all that dbt makes; its transaction stays open."""
    query(
        f"""
        do $$ begin
            if not exists (select from pg_roles where rolname = '{OTHER}') then create role {OTHER} login; end if;
        end $$;
        grant usage on schema analytics, metrics to {OTHER};
        grant select on all tables in schema analytics, metrics to {OTHER};
        alter default privileges for role dbt_location grant select on tables to {OTHER};
        """
    )
    with ExitStack() as stack:

        def start(*statements: str, role: str = OTHER) -> Any:
            connection = psycopg2.connect(host=server, dbname="warehouse", user=role, application_name="holder")
            stack.enter_context(closing(connection))
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
            return connection

        yield start


def test_no_lock_of_a_role_that_reads_the_models_delays_their_build(
    add_trips: Any, build: Any, query: Any, session: Session, materialize: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trips("2023-01-01 12:00")
    build("2023-01-01", "2023-01-02")
    names = [model for (model,) in query("select model from analytics.model_locks")]
    assert "analytics.daily_metrics" in names
    session(
        *(
            f"select pg_advisory_xact_lock(hashtextextended('{name}', 0))"
            for name in [*names, "metrics.manhattan_stats"]
        ),
        "select * from analytics.model_locks",
        "select * from analytics.daily_metrics, analytics.location_metrics",
    )
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=2s")
    assert materialize(get_dbt_partitioned_models(), manhattan_stats, days=DAY).success


@pytest.mark.parametrize(
    "statement",
    [
        "select from analytics.model_locks for update",
        "select from analytics.model_locks for key share",
        "lock table analytics.model_locks in row share mode",
        "lock table analytics.daily_metrics in row share mode",
    ],
)
def test_a_role_that_reads_the_models_takes_no_lock_but_a_readers(
    add_trips: Any, build: Any, session: Session, statement: str
) -> None:
    add_trips("2023-01-01 12:00")
    build("2023-01-01", "2023-01-02")
    with pytest.raises(errors.InsufficientPrivilege):
        session(statement)


def test_a_run_that_is_kept_from_reading_the_trips_fails_in_time_and_names_who_holds_the_lock(
    add_trips: Any, query: Any, session: Session, materialize: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trips("2023-01-01 12:00")
    holder = session("lock table raw_taxis.trips", role="postgres")
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=1s")
    said = failure(materialize(get_dbt_partitioned_models(), days=DAY))
    assert said.startswith("A lock was not free within TAXI_LOCK_WAIT_SECONDS. ")
    pid = holder.info.backend_pid
    assert f"the role postgres (process {pid}, application 'holder') has locked raw_taxis.trips" in said


def test_an_asset_that_is_kept_from_reading_fails_in_time_and_names_who_holds_the_lock(
    add_trips: Any, build: Any, query: Any, session: Session, materialize: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trips("2023-01-01 12:00")
    build("2023-01-01", "2023-01-02")
    session("lock table analytics.location_metrics", role="postgres")
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=1s")
    said = failure(materialize(manhattan_stats, days=DAY))
    assert "application 'holder') has locked analytics.location_metrics" in said


def test_a_run_whose_session_was_ended_says_why_and_what_happens_next(
    add_trips: Any, query: Any, session: Session, materialize: Any
) -> None:
    add_trips("2023-01-01 12:00")
    holder = session("lock table raw_taxis.trips", role="postgres")

    def end_the_waiting_session() -> None:
        end = (
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = 'dbt_location' and wait_event_type = 'Lock'"
        )
        while not query(end):
            time.sleep(0.1)
        holder.rollback()

    ending = threading.Thread(target=end_the_waiting_session)
    ending.start()
    said = failure(materialize(get_dbt_partitioned_models(), days=DAY))
    ending.join()
    assert said.startswith("A session of dbt was ended by the warehouse.")
    assert "After a load the days of its month are built again automatically" in said


def test_a_session_waits_for_a_lock_as_long_as_the_setting_says(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "import dbt_location.defs.resources, os; print(os.environ['PGOPTIONS'])"],
        env={**os.environ, "TAXI_LOCK_WAIT_SECONDS": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    monkeypatch.setenv("PGOPTIONS", shown.stdout.strip())
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("show lock_timeout")
        assert cursor.fetchall() == [("7s",)]
