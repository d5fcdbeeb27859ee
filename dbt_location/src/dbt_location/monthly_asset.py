"""What the pictures and pages of a month have in common."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from dbt_location.automation_conditions import build_when_days_are_current
from dbt_location.partitions import MONTHLY_BACKFILL_POLICY, monthly_partition


def monthly_asset(*, deps: Sequence[str], month_before: Sequence[str] = (), kinds: set[str]) -> Callable[..., Any]:
    """Declares an asset by month, which reads the month's partitions of ``deps``.

    Of the assets in ``month_before`` it also reads the previous month, if that is built.
    """
    with_month_before = dg.TimeWindowPartitionMapping(start_offset=-1, allow_nonexistent_upstream_partitions=True)
    edges = [dg.AssetDep(key, partition_mapping=with_month_before if key in month_before else None) for key in deps]
    return dg.asset(
        deps=edges,
        kinds=kinds,
        partitions_def=monthly_partition,
        backfill_policy=MONTHLY_BACKFILL_POLICY,
        automation_condition=build_when_days_are_current(month_before),
        group_name="metrics",
        owners=["team:analytics"],
        tags={"layer": "metrics"},
    )
