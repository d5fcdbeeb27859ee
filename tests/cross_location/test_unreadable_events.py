"""Others read on, whatever a location stores of its own runs; tried as its role on the embedded Postgres."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterEventType
from dagster._core.definitions.data_version import extract_data_version_from_entry
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._serdes import serialize_value
from platform_host.unreadable_events import EventText, check_column, survive_unreadable_events
from psycopg2.errors import InsufficientPrivilege

from tests.cross_location.instance_roles import Instance, temporary_instance

ROLE = "dbt_location"
OWN = dg.AssetKey("own")
CHECK = dg.AssetCheckKey(OWN, "complete")
COPY = (
    "insert into event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)"
    " select run_id, %s, dagster_event_type, timestamp, step_key, asset_key, partition from event_logs where id = %s"
    " returning id"
)

Entry = dict[str, Any]
# What a location may make of an event that it has stored.
CHANGES: dict[str, Callable[[Entry], object]] = {
    "a class that does not exist": lambda entry: entry.update(error_info={"__class__": "Unknown"}),
    "no class": lambda entry: entry.pop("__class__"),
    "another class": lambda entry: entry.update(__class__="AssetKey"),
    "a class without a name": lambda entry: entry.update(error_info={"__class__": None}),
    "a class whose name is a list": lambda entry: entry.update(error_info={"__class__": []}),
    "an enum that does not exist": lambda entry: entry.update(error_info={"__enum__": "X"}),
    "an enum's member that does not exist": lambda entry: entry.update(error_info={"__enum__": "PipelineRunStatus.X"}),
    "a set of what has no hash": lambda entry: entry.update(error_info={"__set__": [{}]}),
    "a level that does not exist": lambda entry: entry.update(level={"a": 1}),
    "a job that is no text": lambda entry: entry["dagster_event"].update(pipeline_name=1),
    "data of another type": lambda entry: entry["dagster_event"].update(
        event_specific_data={
            **(entry["dagster_event"]["event_specific_data"] or {}),
            "__class__": "EngineEventData",
        }
    ),
    "a number of 5000 digits": lambda entry: entry.update(user_message="DIGITS"),
    "nested 90 times": lambda entry: entry.update(level=json.loads("[" * 90 + "]" * 90)),
}


@dataclass(frozen=True)
class Stack:
    """An instance with runs of the attacker, of which one failed, and a failed run of another location."""

    instance: Instance
    own: dg.DagsterRun
    own_fails: dg.DagsterRun
    other_fails: dg.DagsterRun


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    survive_unreadable_events()
    with temporary_instance() as instance:
        runs = {}
        for location, asset, partition in (
            (ROLE, "own", "first"),
            (ROLE, "own_fails", None),
            ("ingestion_location", "other", "first"),
            ("ingestion_location", "other_fails", None),
        ):
            runs[asset] = instance.launch(location, asset, partition)
            instance.execute(location, asset, runs[asset])
        yield Stack(instance, runs["own"], runs["own_fails"], runs["other_fails"])


def stored(instance: Instance, run: dg.DagsterRun, kind: DagsterEventType) -> tuple[int, Entry]:
    """Id and text of the first event of a type of a run."""
    with instance.connect("dagster") as connection, connection.cursor() as cursor:
        query = "select id, event from event_logs where run_id = %s and dagster_event_type = %s order by id limit 1"
        cursor.execute(query, [run.run_id, kind.value])
        ((event_id, text),) = cursor.fetchall()
    return event_id, json.loads(text)


def store(instance: Instance, event_id: int, text: str) -> int:
    """Stores a changed copy of an event, as the location."""
    with instance.connect(ROLE) as connection, connection.cursor() as cursor:
        cursor.execute(COPY, [text, event_id])
        ((new_id,),) = cursor.fetchall()
    return int(new_id)


def changed(entry: Entry, change: str) -> str:
    CHANGES[change](entry)
    return json.dumps(entry).replace('"DIGITS"', "9" * 5000)


@pytest.mark.parametrize("change", CHANGES)
def test_readers_of_failures_read_on_after_one_that_dagster_cannot_read(stack: Stack, change: str) -> None:
    host, storage = stack.instance.host, stack.instance.host.event_log_storage
    event_id, entry = stored(stack.instance, stack.own_fails, DagsterEventType.RUN_FAILURE)
    unreadable = store(stack.instance, event_id, changed(entry, change))
    host.report_run_failed(stack.other_fails)
    logs = storage.get_logs_for_all_runs_by_log_id(unreadable - 1, DagsterEventType.RUN_FAILURE)
    assert [entry.run_id for entry in logs.values()] == [stack.own_fails.run_id, stack.other_fails.run_id]
    assert (
        f"An event of the run {stack.own_fails.run_id} (PIPELINE_FAILURE) could not be read" in logs[unreadable].message
    )
    after = dg.RunStatusChangeRecordsFilter(DagsterEventType.RUN_FAILURE, after_storage_id=unreadable - 1)
    page = host.fetch_run_status_changes(after, limit=1, ascending=True)
    assert ([record.storage_id for record in page.records], page.has_more) == ([unreadable], True)


def test_the_daemon_that_retries_runs_reads_on_after_one_that_it_cannot_read(stack: Stack) -> None:
    host = stack.instance.host
    daemon, workspace = EventLogConsumerDaemon(), WorkspaceProcessContext(host, EmptyWorkspaceTarget())
    list(daemon.run_iteration(workspace))
    event_id, entry = stored(stack.instance, stack.own_fails, DagsterEventType.RUN_FAILURE)
    store(stack.instance, event_id, changed(entry, "a class that does not exist"))
    host.report_run_failed(stack.other_fails)
    newest = host.event_log_storage.get_maximum_record_id()
    list(daemon.run_iteration(workspace))
    name = f"EVENT_LOG_CONSUMER_CURSOR-{DagsterEventType.RUN_FAILURE.value}"
    assert host.daemon_cursor_storage.get_cursor_values({name}) == {name: str(newest)}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", [DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION])
def test_readers_of_assets_read_on_after_an_event_that_dagster_cannot_read(
    stack: Stack, kind: DagsterEventType, change: str
) -> None:
    host, storage = stack.instance.host, stack.instance.host.event_log_storage
    event_id, entry = stored(stack.instance, stack.own, kind)
    unreadable = store(stack.instance, event_id, changed(entry, change))
    (record,) = storage.get_event_records(dg.EventRecordsFilter(kind, OWN), limit=1)
    assert (record.storage_id, record.asset_key, record.partition_key) == (unreadable, OWN, "first")
    if kind is DagsterEventType.ASSET_OBSERVATION:
        return
    newest = json.dumps({"__class__": "Unknown", "storage_id": unreadable})
    with stack.instance.connect(ROLE) as connection, connection.cursor() as cursor:
        cursor.execute(
            "update asset_keys set last_materialization = %s where asset_key = %s", [newest, OWN.to_string()]
        )
        assert cursor.rowcount == 1
    found = {asset.asset_entry.asset_key: asset.asset_entry for asset in host.get_asset_records()}
    assert set(found) >= {OWN, dg.AssetKey("other")}
    assert found[OWN].last_materialization_storage_id == unreadable
    assert "could not be read" in str(found[OWN].last_materialization)


def test_an_asset_whose_version_is_no_text_has_none(stack: Stack) -> None:
    event_id, entry = stored(stack.instance, stack.own, DagsterEventType.ASSET_MATERIALIZATION)
    entry["dagster_event"]["event_specific_data"]["materialization"]["tags"]["dagster/data_version"] = 1
    store(stack.instance, event_id, json.dumps(entry))
    newest = stack.instance.host.get_latest_materialization_event(OWN)
    assert newest is not None
    assert extract_data_version_from_entry(newest) is None


@pytest.mark.parametrize("change", CHANGES)
def test_readers_of_checks_read_on_after_a_result_that_dagster_cannot_read(stack: Stack, change: str) -> None:
    storage = stack.instance.host.event_log_storage
    event_id, entry = stored(stack.instance, stack.own, DagsterEventType.ASSET_CHECK_EVALUATION)
    unreadable = store(stack.instance, event_id, changed(entry, change))
    with stack.instance.connect(ROLE) as connection, connection.cursor() as cursor:
        cursor.execute(
            "update asset_check_executions set evaluation_event_storage_id = %s"
            " where run_id = %s and execution_status = 'SUCCEEDED'",
            [unreadable, stack.own.run_id],
        )
        assert cursor.rowcount == 1
    for check in (
        storage.get_latest_asset_check_execution_by_key([CHECK])[CHECK],
        *storage.get_asset_check_execution_history(CHECK, limit=1),
    ):
        assert check.evaluation is not None
        assert "could not be read" in (check.evaluation.description or "")


def test_the_page_of_a_run_shows_every_event_also_those_that_dagster_cannot_read(stack: Stack) -> None:
    storage = stack.instance.host.event_log_storage
    # Not the run of the other tests, whose events have been changed.
    run = stack.instance.launch(ROLE, "own", "second")
    stack.instance.execute(ROLE, "own", run)
    before = storage.get_records_for_run(run.run_id).records
    added = 0
    for record in before:
        entry = json.loads(serialize_value(record.event_log_entry))
        # The host stores the others when it plans the run.
        with contextlib.suppress(InsufficientPrivilege):
            store(stack.instance, record.storage_id, changed(entry, "a class that does not exist"))
            added += 1
    shown = storage.get_records_for_run(run.run_id, limit=1000).records
    assert len(shown) == len(before) + added
    assert sum("could not be read" in record.event_log_entry.message for record in shown) == added > 10
    assert storage.get_step_stats_for_run(run.run_id)


def test_each_column_that_has_events_is_checked_or_dagster_has_changed() -> None:
    with pytest.raises(TypeError, match="no text"):
        check_column(sa.Column("event", sa.JSON), EventText())
