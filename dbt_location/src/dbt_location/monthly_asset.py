"""What the pictures and pages of a month have in common."""

from functools import partial

import dagster as dg

from dbt_location.automation_conditions import build_when_days_are_current
from dbt_location.partitions import MONTHLY_BACKFILL_POLICY, monthly_partition

# Takes the asset's dependencies and kind.
monthly_asset = partial(
    dg.asset,
    partitions_def=monthly_partition,
    backfill_policy=MONTHLY_BACKFILL_POLICY,
    automation_condition=build_when_days_are_current,
    group_name="metrics",
    owners=["team:analytics"],
    tags={"layer": "metrics"},
)
