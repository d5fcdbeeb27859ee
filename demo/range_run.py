"""Builds assets of a code location over a range of partitions, as one run in this process, the location's own Python.

It is the run that a backfill would launch: `dagster asset materialize --partition-range` is for assets whose backfill
policy sets no limit, and refuses all others, however short the range.

usage: python range_run.py MODULE ASSET[,ASSET …] FIRST...LAST
"""

import importlib
import sys

import dagster as dg

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def run(module: str, assets: list[str], first: str, last: str) -> bool:
    """Runs assets of a module's ``defs`` from the first to the last partition and returns whether they succeeded."""
    defs: dg.Definitions = importlib.import_module(module).defs
    with dg.DagsterInstance.get() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            tags={RANGE_START: first, RANGE_END: last},
            instance=instance,
            raise_on_error=False,
        )
    return result.success


if __name__ == "__main__":
    if len(sys.argv) != 4 or "..." not in sys.argv[3]:
        sys.exit(__doc__)
    first_key, _, last_key = sys.argv[3].partition("...")
    sys.exit(not run(sys.argv[1], sys.argv[2].split(","), first_key, last_key))
