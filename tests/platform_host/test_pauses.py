"""Shorter pauses of webserver and daemon, on the embedded Postgres."""

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dagster as dg
import dagster._daemon.controller as controller
import pytest
import sqlalchemy
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.backfill import execute_backfill_iteration_loop
from dagster_postgres import PostgresEventLogStorage
from platform_host import pauses
from platform_host.pauses import keep_connections, shorten_pauses
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from tests.cross_location.instance_roles import Instance, instance_as, temporary_instance

DAYS = dg.DailyPartitionsDefinition("2023-01-01", end_date="2023-04-01")
RANGE = {"dagster/asset_partition_range_start": "2023-01-01", "dagster/asset_partition_range_end": "2023-03-31"}


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with temporary_instance() as started:
        yield started


@pytest.fixture(autouse=True)
def as_dagster_is(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts without the changes, whatever was imported, and leaves none."""

    def remove_listeners() -> None:
        for name, listener in (("checkin", pauses._note_use), ("checkout", pauses._test)):
            if event.contains(QueuePool, name, listener):
                event.remove(QueuePool, name, listener)

    monkeypatch.setattr(PostgresEventLogStorage, "store_event_batch", pauses._store_event_batch)
    monkeypatch.setattr(controller, "DEFAULT_DAEMON_INTERVAL_SECONDS", 30)
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    monkeypatch.delenv(pauses.SETTING, raising=False)
    remove_listeners()
    yield
    remove_listeners()


@dg.multi_asset(
    specs=[
        dg.AssetSpec("days", partitions_def=DAYS),
        dg.AssetSpec("others", partitions_def=DAYS),
    ],
    check_specs=[dg.AssetCheckSpec("complete", asset="days")],
)
def built() -> Iterator[dg.MaterializeResult[None]]:
    yield dg.MaterializeResult("days")


def plan(instance: Instance) -> tuple[dict[str, Any], int]:
    """Creates a run of 90 days of two assets; returns what is stored of its plan, and the number of inserts."""
    job = dg.Definitions([built]).resolve_implicit_global_asset_job_def()
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", note)
    try:
        run = instance.host.create_run_for_job(
            job, tags=RANGE, asset_selection={dg.AssetKey("days"), dg.AssetKey("others")}
        )
    finally:
        event.remove(sqlalchemy.engine.Engine, "before_cursor_execute", note)
    with instance.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute(
            "select dagster_event_type, step_key, asset_key, partition,"
            " event::jsonb #- '{timestamp}' #- '{run_id}' from event_logs where run_id = %s order by 1, 3, 4",
            [run.run_id],
        )
        events = cursor.fetchall()
        cursor.execute("select asset_key, last_run_id = %s from asset_keys order by 1", [run.run_id])
        assets = cursor.fetchall()
        cursor.execute(
            "select count(*) from asset_event_tags t join event_logs e on t.event_id = e.id where e.run_id = %s",
            [run.run_id],
        )
        tags = cursor.fetchall()
    inserts = sum(statement.lstrip().startswith("INSERT INTO event_logs") for statement in statements)
    return {"events": events, "assets": assets, "tags": tags}, inserts


def test_the_plan_of_a_run_is_stored_as_dagster_stores_it_by_one_insert_for_all_partitions(instance: Instance) -> None:
    usual, usual_inserts = plan(instance)
    assert len(usual["events"]) == usual_inserts == 181
    shorten_pauses()
    tuned, inserts = plan(instance)
    assert tuned == usual
    assert inserts == 2  # the other one is that of the check


class Pauses(threading.Event):
    """An event that notes how long somebody would wait for it, and that nobody waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0)
        return False


def pause_of_the_backfill_daemon(instance: Instance) -> float:
    noted = Pauses()
    with WorkspaceProcessContext(instance.host, EmptyWorkspaceTarget()) as workspace:
        loop = execute_backfill_iteration_loop(workspace, SimpleNamespace(info=print, debug=print), noted)  # type: ignore[arg-type]
        while not noted.seconds:
            next(loop)
    return noted.seconds[0]


def test_the_daemon_looks_at_backfills_every_two_seconds(instance: Instance) -> None:
    assert pause_of_the_backfill_daemon(instance) > 25
    shorten_pauses()
    assert pause_of_the_backfill_daemon(instance) <= 2


def ask_after_a_restart_of_postgres(instance: Instance) -> None:
    """Reads through a connection that is kept, which Postgres ends, and reads again."""
    storage = PostgresEventLogStorage(f"postgresql+psycopg2://dagster@/dagster?host={instance.server}")
    storage.optimize_for_webserver(statement_timeout=10_000, pool_recycle=-1, max_overflow=0)
    storage.get_maximum_record_id()
    with instance.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'dagster'")
    time.sleep(pauses.IDLE_SECONDS)  # as long as a connection counts as just used
    storage.get_maximum_record_id()


def test_a_connection_that_postgres_ended_while_it_was_kept_is_replaced(instance: Instance) -> None:
    shorten_pauses()
    ask_after_a_restart_of_postgres(instance)


def connections_of(instance: Instance, queries: int) -> int:
    """How many connections a process that has just started opens for its queries of all storages."""
    opened: list[Any] = []

    def note(connection: Any, _: Any) -> None:
        opened.append(connection)

    with instance_as(instance.server, "dagster") as started:
        keep_connections(started)
        event.listen(sqlalchemy.pool.Pool, "connect", note)
        try:
            for _ in range(queries):
                started.get_runs_count()
                started.event_log_storage.get_maximum_record_id()
                started.all_instigator_state()
        finally:
            event.remove(sqlalchemy.pool.Pool, "connect", note)
    return len(opened)


def test_each_storage_opens_one_connection_for_all_of_its_queries(instance: Instance) -> None:
    assert connections_of(instance, 5) == 3


def test_without_tuning_each_query_opens_a_connection(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pauses.SETTING, "off")
    assert connections_of(instance, 5) >= 15


def test_without_the_change_it_answers_with_an_error(instance: Instance) -> None:
    with pytest.raises(OperationalError):
        ask_after_a_restart_of_postgres(instance)


def test_one_setting_leaves_all_of_it_to_dagster(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pauses.SETTING, "off")
    shorten_pauses()
    assert PostgresEventLogStorage.store_event_batch is pauses._store_event_batch
    assert controller.DEFAULT_DAEMON_INTERVAL_SECONDS == 30
    assert not event.contains(QueuePool, "checkout", pauses._test)


def test_a_wrong_setting_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pauses.SETTING, "yes")
    with pytest.raises(ValueError, match="HOST_TUNING is 'yes'"):
        shorten_pauses()
