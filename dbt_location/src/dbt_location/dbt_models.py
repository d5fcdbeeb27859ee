"""The dbt models as assets."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import dagster as dg

from dbt_location.automation import build_when_month_is_loaded, build_when_upstream_is_loaded
from dbt_location.dbt_events import stream
from dbt_location.lean_dagster_dbt import dbt_assets
from dbt_location.partitions import BACKFILL_POLICY, daily_partition
from dbt_location.project import AnalyticsDbt, analytics_project, manifest
from dbt_location.translator import AnalyticsTranslator

# What hangs on the trips has days; a rule, not a tag, so that no new model can be left out.
DAILY = "source:raw_taxis.trips+"

# The unit tests hold or not whatever the data is, so they belong to CI, not to every run.
BUILD = ("build", "--exclude-resource-type", "unit_test")

# One dbt run at a time: two would create the same views and temporary tables.
POOL = "dbt"


@cache
def get_dbt_partitioned_models() -> dg.AssetsDefinition:
    """The models that have days; one run builds any range of them, as one window."""

    @dbt_assets(
        manifest=manifest(),
        project=analytics_project,
        select=DAILY,
        partitions_def=daily_partition,
        backfill_policy=BACKFILL_POLICY,
        dagster_dbt_translator=AnalyticsTranslator(build_when_month_is_loaded),
        pool=POOL,
    )
    def dbt_partitioned_models(context: dg.AssetExecutionContext, dbt: AnalyticsDbt) -> Iterator[Any]:
        window = context.partition_time_window
        # dbt's own options for a window: unlike --vars, they do not make dbt parse the project again.
        args = [*BUILD, "--event-time-start", f"{window.start:%Y-%m-%d}", "--event-time-end", f"{window.end:%Y-%m-%d}"]
        yield from stream(dbt.cli(args, context=context), len(context.partition_keys))

    return dbt_partitioned_models


@cache
def get_dbt_unpartitioned_models() -> dg.AssetsDefinition:
    """The models that have no day."""

    @dbt_assets(
        manifest=manifest(),
        project=analytics_project,
        exclude=DAILY,
        dagster_dbt_translator=AnalyticsTranslator(build_when_upstream_is_loaded),
        pool=POOL,
    )
    def dbt_unpartitioned_models(context: dg.AssetExecutionContext, dbt: AnalyticsDbt) -> Iterator[Any]:
        yield from stream(dbt.cli([*BUILD], context=context), partitions=1)

    return dbt_unpartitioned_models
