"""The connection for the events of a run, on a real Postgres."""

import time
from collections.abc import Callable, Iterator

import dagster as dg
import psycopg2
import pytest
from dbt_location.kept_connection import keep_connection

Ask = Callable[[str], list[int]]


@pytest.fixture
def ask(server: str) -> Iterator[Ask]:
    """Runs SQL as the superuser in another database than the instance's, and returns the first column."""
    connection = psycopg2.connect(host=server, user="postgres", dbname="postgres")
    connection.autocommit = True

    def run(statement: str) -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return [row[0] for row in cursor.fetchall()] if cursor.description else []

    run("create database instance")
    yield run
    run("drop database instance with (force)")
    connection.close()


@pytest.fixture
def instance(server: str, ask: Ask) -> Iterator[dg.DagsterInstance]:
    storage = {"postgres": {"postgres_url": f"postgresql+psycopg2://postgres@/instance?host={server}"}}
    with dg.DagsterInstance.local_temp(overrides={"storage": storage}) as instance:
        keep_connection(instance.event_log_storage)
        yield instance


def report(instance: dg.DagsterInstance, partition: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("day", partition=partition))


SESSIONS = "select pid from pg_stat_activity where datname = 'instance'"


def the_only_session(ask: Ask) -> int:
    """Postgres ends a session a moment after its client has closed it."""
    deadline = time.monotonic() + 10
    while len(sessions := ask(SESSIONS)) != 1:
        assert time.monotonic() < deadline, f"the sessions {sessions} stay open"
    return sessions[0]


def test_all_events_are_stored_by_one_connection(instance: dg.DagsterInstance, ask: Ask) -> None:
    report(instance, "1")
    kept = the_only_session(ask)
    report(instance, "2")
    assert the_only_session(ask) == kept


def test_an_event_after_a_restart_of_postgres_is_stored(instance: dg.DagsterInstance, ask: Ask) -> None:
    report(instance, "1")
    ask(SESSIONS.replace("pid", "pg_terminate_backend(pid, 10000)"))
    report(instance, "2")
    assert instance.get_materialized_partitions(dg.AssetKey("day")) == {"1", "2"}
