"""Runs of small assets, some of which fail: what the tests keep house after."""

import dagster as dg
from dagster import DagsterInstance

DAYS = dg.DailyPartitionsDefinition("2023-01-01", end_date="2023-01-06")
BAD_DAY = "2023-01-03"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("has_rows", asset="trips"), dg.AssetCheckSpec("is_usual", asset="trips")],
)
def trips(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Fails where the bad day is among its days."""
    context.log.info(f"building {context.partition_keys}")
    print("rows are counted")
    if BAD_DAY in context.partition_keys:
        raise dg.Failure(f"{BAD_DAY} has no trips")
    return dg.MaterializeResult(
        metadata={"rows": 3},
        check_results=[
            dg.AssetCheckResult(check_name="has_rows", passed=True),
            dg.AssetCheckResult(check_name="is_usual", passed=False, severity=dg.AssetCheckSeverity.WARN),
        ],
    )


@dg.asset(deps=[trips], partitions_def=DAYS)
def metrics(context: dg.AssetExecutionContext) -> int:
    """Built after the trips."""
    context.log_event(dg.AssetObservation("zones", metadata={"seen": 265}))
    return 1


@dg.asset
def broken() -> None:
    """Raises something that is no Failure."""
    raise ValueError("the answer is 42" + "!" * 2_000)


ASSETS = [trips, metrics, broken]


def run(instance: DagsterInstance, *keys: str, partition: str | None = None, **tags: str) -> str:
    """Runs assets and returns the run's id; a failure is no error."""
    result = dg.materialize(
        ASSETS, selection=list(keys), instance=instance, partition_key=partition, raise_on_error=False, tags=tags
    )
    return result.run_id


def run_range(instance: DagsterInstance, first: str, last: str) -> str:
    """Runs the trips of a range of days."""
    return run(instance, "trips", **{RANGE_START: first, RANGE_END: last})
