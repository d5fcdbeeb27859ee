"""A location whose history an older release of Dagster writes and this release reads; both must understand it.

As a program it prints the history of the instance in DAGSTER_HOME as JSON. With ``--write`` it makes the history first.
"""

import json
import sys
from typing import Any

import dagster as dg
from dagster._cli.schedule import schedule_cli
from dagster._cli.sensor import sensor_cli
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

MONTHS = dg.MonthlyPartitionsDefinition("2023-01-01", end_date="2023-05-01")


@dg.asset(partitions_def=MONTHS)
def trips(context: dg.AssetExecutionContext) -> Any:
    """Loads every month but March."""
    if context.partition_key == "2023-03-01":
        raise dg.Failure("the source does not have this file")
    return dg.MaterializeResult(metadata={"rows": 1000, "file": f"trips_{context.partition_key}.parquet"})


@dg.asset(deps=[trips])
def report() -> None:
    """Has no partitions."""


report_job = dg.define_asset_job("report_job", [report])


@dg.schedule(job=report_job, cron_schedule="0 0 * * *")
def nightly() -> dict[str, Any]:
    """Is switched on."""
    return {}


@dg.sensor(job=report_job, minimum_interval_seconds=3600)
def new_files() -> dg.SkipReason:
    """Is switched on, and has a cursor."""
    return dg.SkipReason("nothing new")


defs = dg.Definitions(
    [trips, report], jobs=[report_job], schedules=[nightly], sensors=[new_files], executor=dg.in_process_executor
)


def write(instance: dg.DagsterInstance) -> None:
    """Makes the history: four runs (one fails, two belong to a backfill), a running schedule and a running sensor."""
    backfill = {"dagster/backfill": "upgrade0"}
    runs: list[tuple[str, dict[str, str]]] = [("2023-01-01", {}), ("2023-02-01", backfill), ("2023-03-01", backfill)]
    for month, tags in runs:
        dg.materialize([trips], partition_key=month, instance=instance, tags=tags, raise_on_error=False)
    dg.materialize([trips, report], selection=[report], instance=instance)
    instance.add_backfill(
        PartitionBackfill(
            backfill_id="upgrade0",
            status=BulkActionStatus.COMPLETED,
            from_failure=False,
            tags={"team": "ingestion"},
            backfill_timestamp=1700000000.0,
            asset_selection=[trips.key],
            partition_names=["2023-02-01", "2023-03-01"],
        )
    )
    location = ["--python-file", __file__]
    for cli, arguments in (
        (schedule_cli, ["start", "nightly"]),
        (sensor_cli, ["start", "new_files"]),
        (sensor_cli, ["cursor", "new_files", "--set", "2023-04"]),
    ):
        cli.main([*arguments, *location], standalone_mode=False)


def read(instance: dg.DagsterInstance) -> dict[str, Any]:
    """The history as data."""
    status: Any = get_and_update_asset_status_cache_value(instance, trips.key, MONTHS)
    records = instance.get_run_records()
    events = instance.fetch_materializations(trips.key, limit=100).records
    return {
        "runs": [
            [record.dagster_run.run_id, record.dagster_run.status.value, record.dagster_run.tags, record.start_time]
            for record in records
        ],
        "events": {record.dagster_run.run_id: len(instance.all_logs(record.dagster_run.run_id)) for record in records},
        "materialized": sorted(instance.get_materialized_partitions(trips.key)),
        "failed": sorted(status.deserialize_failed_partition_subsets(MONTHS).get_partition_keys()),
        "materializations": [
            [event.run_id, event.partition_key, {name: value.value for name, value in metadata(event).items()}]
            for event in events
        ],
        "runs_of_backfill": sorted(
            run.run_id for run in instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": "upgrade0"}))
        ),
        "backfills": [[b.backfill_id, b.status.value, b.partition_names, b.tags] for b in instance.get_backfills()],
        "switched_on": sorted(
            [state.instigator_name, state.status.value, getattr(state.instigator_data, "cursor", None)]
            for state in instance.all_instigator_state()
        ),
    }


def metadata(event: Any) -> dict[str, Any]:
    return dict(event.asset_materialization.metadata)


if __name__ == "__main__":
    with dg.DagsterInstance.get() as dagster_instance:
        if "--write" in sys.argv:
            write(dagster_instance)
        print(json.dumps(read(dagster_instance), sort_keys=True))
