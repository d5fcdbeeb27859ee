"""Pruning: what only a reader of a run's log reads goes, and nothing that Dagster decides by changes."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import dagster as dg
import psycopg2
import pydantic
import pytest
from dagster import AssetCheckKey, AssetKey, DagsterEventType, DagsterInstance
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from integration.conftest import Server
from integration.runs import BAD_DAY, DAYS, metrics, run, run_range, trips
from platform_location.defs.run_history import prune_run_history
from platform_location.event_log import LOG_MESSAGE, PRUNED, PRUNED_AFTER_SUCCESS, prune_events
from psycopg2 import sql

ASSETS = (trips, metrics)
CHECKS = [AssetCheckKey(AssetKey("trips"), name) for name in ("has_rows", "is_usual")]


@pytest.fixture
def runs(instance: DagsterInstance) -> list[str]:
    """A range that succeeded, one that failed, a day built again, a day downstream; the last day is never built."""
    return [
        run_range(instance, "2023-01-01", "2023-01-02"),
        run_range(instance, BAD_DAY, "2023-01-04"),
        run(instance, "trips", partition="2023-01-02"),
        run(instance, "metrics", partition="2023-01-01"),
    ]


def later() -> float:
    """A moment after the end of all runs that there are."""
    return time.time() + 1


def partition_status(instance: DagsterInstance, asset: dg.AssetsDefinition) -> dict[str, Any]:
    """What the page of an asset shows of its partitions, worked out anew, without the cache."""
    instance.wipe_asset_cached_status([asset.key])
    status = get_and_update_asset_status_cache_value(instance, asset.key, DAYS)
    assert status is not None
    return {
        "materialized": set(status.deserialize_materialized_partition_subsets(DAYS).get_partition_keys()),
        "failed": set(status.deserialize_failed_partition_subsets(DAYS).get_partition_keys()),
        "in progress": set(status.deserialize_in_progress_partition_subsets(DAYS).get_partition_keys()),
    }


def materializations(instance: DagsterInstance, asset: dg.AssetsDefinition) -> list[Any]:
    fetch = instance.fetch_materializations(asset.key, limit=100).records
    return [(record.storage_id, record.run_id, record.partition_key, record.asset_materialization) for record in fetch]


def decided_by(instance: DagsterInstance) -> dict[str, Any]:
    """All that Dagster decides by and shows of assets, checks and runs, apart from a run's log."""
    storage = instance.event_log_storage
    every_run = [record.dagster_run.run_id for record in instance.get_run_records()]
    return {
        "partitions": {asset.key: partition_status(instance, asset) for asset in ASSETS},
        "materializations": {asset.key: materializations(instance, asset) for asset in ASSETS},
        "observations": storage.fetch_observations(AssetKey("zones"), limit=100).records,
        "latest by partition": [
            {asset.key: instance.get_latest_storage_id_by_partition(asset.key, event_type) for asset in ASSETS}
            for event_type in (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        ],
        "assets": [record.asset_entry for record in instance.get_asset_records([asset.key for asset in ASSETS])],
        "checks": storage.get_latest_asset_check_execution_by_key(CHECKS),
        "check history": [storage.get_asset_check_execution_history(check, limit=100) for check in CHECKS],
        "runs": instance.get_run_records(),
        "run times and counts": [instance.get_run_stats(run_id) for run_id in every_run],
        "step durations": [
            [
                (step.step_key, step.status, step.start_time, step.end_time)
                for step in instance.get_run_step_stats(run_id)
            ]
            for run_id in every_run
        ],
        "failures": [instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE) for run_id in every_run],
    }


def types(instance: DagsterInstance, run_id: str) -> Counter[str | None]:
    entries = instance.all_logs(run_id)
    return Counter(entry.dagster_event.event_type_value if entry.dagster_event else None for entry in entries)


def test_the_partitions_of_these_runs_are_in_every_state_that_ends(instance: DagsterInstance, runs: list[str]) -> None:
    assert runs
    assert partition_status(instance, trips) == {
        "materialized": {"2023-01-01", "2023-01-02"},
        "failed": {BAD_DAY, "2023-01-04"},
        "in progress": set(),
    }


def test_pruning_changes_nothing_that_dagster_decides_by(instance: DagsterInstance, runs: list[str]) -> None:
    before = decided_by(instance)
    assert before["checks"]
    assert before["observations"]
    assert prune_events(instance, later(), dry_run=False)
    assert decided_by(instance) == before


def test_pruning_deletes_all_events_of_the_pruned_types_and_no_others(
    instance: DagsterInstance, runs: list[str]
) -> None:
    before = {run_id: types(instance, run_id) for run_id in runs}
    pruned = prune_events(instance, later(), dry_run=False)
    gone: Counter[str] = Counter()
    for run_id in runs:
        # The second one failed.
        goes = PRUNED if run_id == runs[1] else (*PRUNED, *PRUNED_AFTER_SUCCESS)
        names = {event_type.value if event_type else None for event_type in goes}
        kept = {name: number for name, number in before[run_id].items() if name not in names}
        assert types(instance, run_id) == kept
        gone.update({name or LOG_MESSAGE: number for name, number in before[run_id].items() if name in names})
    assert {each.event_type: each.rows for each in pruned} == gone


def test_a_dry_run_says_what_a_pruning_then_deletes_and_deletes_nothing(
    instance: DagsterInstance, runs: list[str]
) -> None:
    before = [types(instance, run_id) for run_id in runs]
    would = prune_events(instance, later(), dry_run=True)
    assert [types(instance, run_id) for run_id in runs] == before
    assert prune_events(instance, later(), dry_run=False) == would


def test_pruning_again_deletes_nothing_more(instance: DagsterInstance, runs: list[str]) -> None:
    prune_events(instance, later(), dry_run=False)
    assert prune_events(instance, later(), dry_run=False) == []


def test_a_pruning_that_is_cut_into_small_batches_comes_to_the_same(instance: DagsterInstance, runs: list[str]) -> None:
    would = prune_events(instance, later(), dry_run=True)
    assert prune_events(instance, later(), dry_run=False, batch=2) == would


class Interrupted(Exception):  # noqa: N818
    pass


def test_a_pruning_that_was_interrupted_is_made_good_by_the_next_one(
    instance: DagsterInstance, runs: list[str]
) -> None:
    before = decided_by(instance)
    would = {each.event_type: each.rows for each in prune_events(instance, later(), dry_run=True)}

    def interrupt(_: str) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        prune_events(instance, later(), dry_run=False, log=interrupt)
    left = {each.event_type: each.rows for each in prune_events(instance, later(), dry_run=False)}
    assert 0 < len(left) < len(would)
    assert left.items() <= would.items()
    assert (decided_by(instance), prune_events(instance, later(), dry_run=True)) == (before, [])


def test_rows_that_another_pruning_holds_are_left_to_it(
    instance: DagsterInstance, runs: list[str], server: Server
) -> None:
    would = prune_events(instance, later(), dry_run=True)
    other = psycopg2.connect(host=server.host, user="postgres", dbname="instance")
    with other.cursor() as cursor:
        cursor.execute("select id from event_logs where dagster_event_type = 'ENGINE_EVENT' for update")
        held = cursor.rowcount
    deleted = prune_events(instance, later(), dry_run=False)
    other.rollback()  # returns when the rows are free; the end of a session is noticed later
    other.close()
    assert held
    assert [each for each in would if each not in deleted] == [
        each for each in would if each.event_type == "ENGINE_EVENT"
    ]
    assert sum(each.rows for each in prune_events(instance, later(), dry_run=False)) == held


def test_runs_that_ended_later_keep_their_whole_log(instance: DagsterInstance, runs: list[str]) -> None:
    record = instance.get_run_record_by_id(runs[1])
    assert record is not None
    assert record.end_time is not None
    before = [types(instance, run_id) for run_id in runs[1:]]
    prune_events(instance, record.end_time, dry_run=False)
    assert [types(instance, run_id) for run_id in runs[1:]] == before
    assert types(instance, runs[0])[None] == 0


def test_a_run_that_has_not_ended_keeps_its_whole_log(instance: DagsterInstance) -> None:
    begun = instance.create_run_for_job(prune_run_history)
    instance.report_engine_event("it is about to start", begun)
    before = types(instance, begun.run_id)
    assert prune_events(instance, later(), dry_run=False) == []
    assert types(instance, begun.run_id) == before


def test_sizes_are_those_of_the_rows(instance: DagsterInstance, runs: list[str], server: Server) -> None:
    assert runs
    rows = server.execute(
        sql.SQL("select count(*), sum(pg_column_size(e.*)) from event_logs e where dagster_event_type is null"),
        "instance",
    )
    assert [(each.rows, each.bytes) for each in prune_events(instance, later(), dry_run=True)][:1] == rows


def test_the_job_says_in_its_outputs_metadata_what_it_did(
    instance: DagsterInstance, runs: list[str], server: Server
) -> None:
    assert runs
    # In the stack the service migrate creates it, and tests/platform_host/test_audit.py tests what it deletes.
    server.execute(sql.SQL("create schema audit"), "instance")
    function = "create function audit.prune(boolean) returns int return case when $1 then 7 end"
    server.execute(sql.SQL(function), "instance")
    config = {"ops": {"prune_old_events": {"config": {"dry_run": True}}}}
    result = prune_run_history.execute_in_process(run_config=config, instance=instance)
    (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    said = output.step_output_data.metadata
    # Nothing is a day old.
    assert (said["dry run"].value, said["event rows"].value, said["lines of the audit"].value) == (True, 0, 7)


def test_the_job_refuses_to_keep_no_day(instance: DagsterInstance) -> None:
    with pytest.raises(pydantic.ValidationError, match="keep_days"):
        prune_run_history.execute_in_process(
            run_config={"ops": {"prune_old_events": {"config": {"keep_days": 0}}}}, instance=instance
        )


def test_a_failed_run_can_still_be_launched_again_from_its_failure(
    instance: DagsterInstance, runs: list[str], reexecutable: Callable[[str], list[str] | None]
) -> None:
    before = reexecutable(runs[1])
    prune_events(instance, later(), dry_run=False)
    assert (reexecutable(runs[1]), before) == (before, ["trips"])


@pytest.fixture
def reexecutable(instance: DagsterInstance) -> Callable[[str], list[str] | None]:
    """The steps that "re-execute from failure" of a run executes."""
    from dagster._core.execution.plan.state import KnownExecutionState

    def steps(run_id: str) -> list[str] | None:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        keys, _ = KnownExecutionState.build_resume_retry_reexecution(instance, run)
        return list(keys) if keys else None

    return steps
