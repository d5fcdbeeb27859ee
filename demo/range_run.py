"""Runs assets of a code location in this process, the location's own Python, job after job.

A range is the run that a backfill launches. `dagster asset materialize --partition-range` refuses assets whose backfill
policy has a limit, however short the range.

usage: python range_run.py MODULE

Each line of the input is a job, as JSON: the file for what it prints, its assets, and its partition, which is null, a
partition's key or FIRST...LAST. Each line of the output is its result: null, or why it failed.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import dagster as dg

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def run(defs: dg.Definitions, assets: list[str], partition: str | None) -> dg.ExecuteInProcessResult:
    first, is_range, last = (partition or "").partition("...")
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


def main(module: str) -> None:
    # Jobs and their processes, such as dbt, have neither the input nor the output, which goes to the job's file.
    jobs, results = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    defs: dg.Definitions = importlib.import_module(module).defs
    for line in jobs:
        path, assets, partition = json.loads(line)
        with Path(path).open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        ended = run(defs, assets, partition)
        sys.stdout.flush()
        results.write(json.dumps(None if ended.success else reason(ended)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
