"""What a location may do with each table and column of the instance is decided, and is what Postgres allows."""

import re
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.events import RunFailureReason

from ops.command import ROOT
from services.migrate.walls import FILE
from tests.cross_location.instance_roles import Instance, temporary_instance

# Tables that a location reads. A + marks a column that it gives when it inserts a row, a ~ one that it updates.
READ = {
    "alembic_version": "version_num",
    "asset_check_executions": "id asset_key+ check_name+ partition+~ run_id+ execution_status+~ evaluation_event+~"
    " evaluation_event_timestamp+~ evaluation_event_storage_id+~ materialization_event_storage_id+~ create_timestamp",
    "asset_event_tags": "id event_id+ asset_key+ key+ value+ event_timestamp+",
    "asset_keys": "id asset_key+ last_materialization+~ last_run_id+~ asset_details wipe_timestamp"
    " last_materialization_timestamp+~ tags create_timestamp cached_status_data~",
    "bulk_actions": "id key status timestamp body action_type selector_id job_name",
    "concurrency_limits": "id concurrency_key limit using_default_limit update_timestamp create_timestamp",
    "concurrency_slots": "id concurrency_key run_id step_key deleted create_timestamp",
    "dynamic_partitions": "id partitions_def_name partition create_timestamp",
    "event_logs": "id run_id+ event+ dagster_event_type+ timestamp+ step_key+ asset_key+ partition+",
    "instance_info": "id run_storage_id",
    "kvs": "id key value",
    "pending_steps": "id concurrency_key run_id step_key priority assigned_timestamp create_timestamp",
    "run_tags": "id run_id+ key+ value+~",
    "runs": "id run_id snapshot_id pipeline_name mode status~ run_body~ partition~ partition_set~ create_timestamp"
    " update_timestamp~ start_time~ end_time~ backfill_id",
    "secondary_indexes": "id name create_timestamp migration_completed",
    "snapshots": "id snapshot_id snapshot_body snapshot_type",
}
# Tables that only webserver and daemon use.
NOT_READ = {
    "asset_daemon_asset_evaluations": "id evaluation_id asset_key asset_evaluation_body num_requested num_skipped"
    " num_discarded create_timestamp",
    "backfill_tags": "id backfill_id key value",
    "daemon_heartbeats": "id daemon_type daemon_id timestamp body",
    "instigators": "id selector_id repository_selector_id status instigator_type instigator_body create_timestamp"
    " update_timestamp",
    "job_ticks": "id job_origin_id selector_id status type timestamp tick_body create_timestamp update_timestamp",
    "jobs": "id job_origin_id selector_id repository_origin_id status job_type job_body create_timestamp"
    " update_timestamp",
}
DECIDED = READ | NOT_READ
# Types of events that no run writes, beside those that name a table of services/migrate/instance_walls.sql.
OF_THE_HOST = {
    "ASSET_MATERIALIZATION_PLANNED",
    "ASSET_CHECK_EVALUATION_PLANNED",
    "ASSET_WIPED",
    "PIPELINE_ENQUEUED",
    "PIPELINE_DEQUEUED",
    "PIPELINE_STARTING",
    "PIPELINE_CANCELING",
    "CODE_LOCATION_UPDATED",
    # Dagster's own service writes these.
    "ASSET_FAILED_TO_MATERIALIZE",
    "ASSET_HEALTH_CHANGED",
    "ASSET_STORE_OPERATION",
    "ALERT_START",
    "ALERT_SUCCESS",
    "ALERT_FAILURE",
    "FRESHNESS_STATE_EVALUATION",
    "FRESHNESS_STATE_CHANGE",
    "RUN_SUSPENDED",
    "RUN_RESUMED",
}
NEXT_STEP = (
    "Dagster {release} has {what}, for which nothing is decided. Find out by the stack tests whether a run reads or "
    "writes it. If so, grant it in services/migrate/instance_walls.sql, for a location's own runs only. Then add it in "
    "tests/cross_location/test_instance_columns.py."
)


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with temporary_instance() as instance:
        yield instance


def columns(instance: Instance, role: str) -> dict[str, list[tuple[str, str]]]:
    """The columns of each table, each with what the role may do, as the words above have it."""
    query = """
        select relname, attname,
          case when has_column_privilege(%(role)s, c.oid, attnum, 'insert') then '+' else '' end
          || case when has_column_privilege(%(role)s, c.oid, attnum, 'update') then '~' else '' end,
          has_column_privilege(%(role)s, c.oid, attnum, 'select')
        from pg_class as c join pg_attribute on attrelid = c.oid
        where relnamespace = 'public'::regnamespace and relkind not in ('i', 'S') and attnum > 0 and not attisdropped
        order by relname, attnum
    """
    found: dict[str, list[tuple[str, str]]] = {}
    with instance.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute(query, {"role": role})
        for table, column, writes, reads in cursor:
            found.setdefault(table, []).append((column, writes if reads else f"-{writes}"))
    return found


def test_each_table_and_column_of_this_release_is_decided(instance: Instance) -> None:
    there = {f"{table}.{column}" for table, found in columns(instance, "dagster").items() for column, _ in found}
    decided = {f"{table}.{column.rstrip('+~')}" for table, line in DECIDED.items() for column in line.split()}
    new = ", ".join(sorted(there - decided))
    assert not new, NEXT_STEP.format(release=dg.__version__, what=new)
    assert there == decided


def test_each_type_of_event_of_this_release_is_decided() -> None:
    sql = FILE.read_text()
    undecided = {kind.value for kind in dg.DagsterEventType if f"'{kind.value}'" not in sql} - OF_THE_HOST
    assert not undecided, NEXT_STEP.format(
        release=dg.__version__, what=f"the types of events {', '.join(sorted(undecided))}"
    )


def test_each_reason_of_a_failure_of_this_release_may_be_written() -> None:
    sql = FILE.read_text()
    assert [reason.value for reason in RunFailureReason if f"'{reason.value}'" not in sql] == []


@pytest.mark.parametrize("table", DECIDED)
def test_a_location_may_do_with_a_table_what_is_decided(instance: Instance, table: str) -> None:
    found = columns(instance, "dbt_location")[table]
    mark = "" if table in READ else "-"
    assert [
        (column.rstrip("+~"), mark + column[len(column.rstrip("+~")) :]) for column in DECIDED[table].split()
    ] == found


def test_the_host_reads_and_writes_every_table(instance: Instance) -> None:
    assert {right for found in columns(instance, "dagster").values() for _, right in found} == {"+~"}


def test_housekeeping_deletes_the_types_that_it_prunes(instance: Instance) -> None:
    source = (ROOT / "platform_location/src/platform_location/event_log.py").read_text()
    lists = source[source.index("\nPRUNED: ") : source.index("\nBATCH = ")]
    pruned = {dg.DagsterEventType[name].value for name in re.findall(r"DagsterEventType\.(\w+),", lists)}
    sql = FILE.read_text()
    function = sql[sql.index("function walls.prunable") :]
    allowed = {kind.value for kind in dg.DagsterEventType if f"'{kind.value}'" in function}
    assert pruned == allowed
