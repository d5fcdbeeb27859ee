"""The dbt models as assets: by day, by month, and without partitions; dbt's sources as external assets."""

from collections.abc import Iterator
from datetime import date
from functools import cache, partial
from typing import Any

import dagster as dg

from dbt_location.automation_conditions import (
    build_when_days_are_current,
    build_when_month_is_loaded,
    build_when_upstream_is_loaded,
)
from dbt_location.dbt_events import stream
from dbt_location.lean_dagster_dbt import dbt_assets
from dbt_location.partitions import BACKFILL_POLICY, MONTHLY_BACKFILL_POLICY, daily_partition, monthly_partition
from dbt_location.project import AnalyticsDbt, analytics_project, manifest
from dbt_location.required_upstream import require_whole_month
from dbt_location.sources import source_assets
from dbt_location.translator import AnalyticsTranslator
from dbt_location.warehouse import Warehouse

# What depends on the trips is partitioned: a rule, so that no new model can be left out. By day, unless it is a monthly
# model, which the folder models/metrics tags.
PARTITIONED = "source:raw_taxis.trips+"
MONTHLY = "tag:monthly"

# The unit tests hold or not whatever the data is, so they belong to CI, not to every run.
BUILD = ("build", "--exclude-resource-type", "unit_test")

# One dbt run at a time: two would create the same views and temporary tables.
POOL = "dbt"

_assets_of = partial(dbt_assets, manifest=manifest(), project=analytics_project, pool=POOL)


def window_options(start: date, end: date) -> list[str]:
    """dbt's options for the window ``[start, end)``; unlike ``--vars``, they do not make it parse the project again."""
    return ["--event-time-start", f"{start:%Y-%m-%d}", "--event-time-end", f"{end:%Y-%m-%d}"]


@cache
def get_dbt_partitioned_models() -> dg.AssetsDefinition:
    """The models by day; one run builds any range of days, as one window."""

    @_assets_of(
        select=PARTITIONED,
        exclude=MONTHLY,
        partitions_def=daily_partition,
        backfill_policy=BACKFILL_POLICY,
        dagster_dbt_translator=AnalyticsTranslator(build_when_month_is_loaded),
    )
    def dbt_partitioned_models(
        context: dg.AssetExecutionContext, dbt: AnalyticsDbt, warehouse: Warehouse
    ) -> Iterator[Any]:
        args = [*BUILD, *window_options(*context.partition_time_window)]
        yield from stream(dbt.cli(args, context=context), warehouse, len(context.partition_keys))

    return dbt_partitioned_models


@cache
def get_dbt_monthly_models() -> dg.AssetsDefinition:
    """The models by month; a run builds one month."""

    @_assets_of(
        select=MONTHLY,
        partitions_def=monthly_partition,
        backfill_policy=MONTHLY_BACKFILL_POLICY,
        dagster_dbt_translator=AnalyticsTranslator(build_when_days_are_current()),
    )
    def dbt_monthly_models(context: dg.AssetExecutionContext, dbt: AnalyticsDbt, warehouse: Warehouse) -> Iterator[Any]:
        args = [*BUILD, *window_options(*require_whole_month(context))]
        yield from stream(dbt.cli(args, context=context), warehouse, partitions=1)

    return dbt_monthly_models


@cache
def get_dbt_unpartitioned_models() -> dg.AssetsDefinition:
    """The models that have no day."""

    @_assets_of(exclude=PARTITIONED, dagster_dbt_translator=AnalyticsTranslator(build_when_upstream_is_loaded))
    def dbt_unpartitioned_models(
        context: dg.AssetExecutionContext, dbt: AnalyticsDbt, warehouse: Warehouse
    ) -> Iterator[Any]:
        yield from stream(dbt.cli([*BUILD], context=context), warehouse, partitions=1)

    return dbt_unpartitioned_models


models = [get_dbt_partitioned_models(), get_dbt_monthly_models(), get_dbt_unpartitioned_models()]
defs = dg.Definitions(assets=[*source_assets(manifest()), *models])
