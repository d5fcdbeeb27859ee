"""Runs assets of a code location in this process, the location's own Python: without a partition, for one, or a range.

A range is the run that a backfill launches. `dagster asset materialize --partition-range` refuses assets whose backfill
policy has a limit, however short the range.

usage: python range_run.py MODULE ASSET[,ASSET …] [PARTITION | FIRST...LAST]
"""

import importlib
import sys

import dagster as dg

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
# What follows it in the output is the reason of the failure.
FAILED = "\nRun failed: "


def run(module: str, assets: list[str], partition: str | None = None) -> dg.ExecuteInProcessResult:
    first, is_range, last = (partition or "").partition("...")
    defs: dg.Definitions = importlib.import_module(module).defs
    with dg.DagsterInstance.get() as instance:
        return defs.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            partition_key=None if is_range else partition,
            tags={RANGE_START: first, RANGE_END: last} if is_range else None,
            instance=instance,
            raise_on_error=False,
        )


def reason(result: dg.ExecuteInProcessResult) -> str:
    """The message of the first step that failed, or that of the run if no step failed."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        failure = event.step_failure_data
        if failure.user_failure_data and failure.user_failure_data.description:
            return failure.user_failure_data.description
        if failure.error:
            # Dagster wraps what the step raised.
            return (failure.error.cause or failure.error).message.strip()
    return result.all_events[-1].message or "no reason was given"


if __name__ == "__main__":
    ended = run(sys.argv[1], sys.argv[2].split(","), *sys.argv[3:])
    if not ended.success:
        sys.exit(FAILED + reason(ended))
