"""A month that is not whole is refused before anything is changed, by the dbt models and by what is made of them."""

from collections.abc import Callable
from datetime import date
from typing import Any

import dagster as dg
import pytest
from dbt_location.defs.dbt_models import get_dbt_monthly_models
from dbt_location.defs.metrics.borough_flows_chart import borough_flows_chart
from dbt_location.defs.metrics.monthly_report import monthly_report
from dbt_location.defs.metrics.zone_map import zone_map
from integration.conftest import failure

Materialize = Callable[..., dg.ExecuteInProcessResult]
JANUARY = [f"2023-01-{day:02}" for day in range(1, 32)]
MODELS = ("zone_pickups", "borough_flows", "monthly_totals")
MONTHLY = {
    "dbt models": get_dbt_monthly_models(),
    "map": zone_map,
    "chart": borough_flows_chart,
    "report": monthly_report,
}


def report(instance: dg.DagsterInstance, asset: str, *partitions: str) -> None:
    """Writes into the instance that partitions of an asset were materialized."""
    for partition in partitions:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


@pytest.mark.parametrize("assets", MONTHLY.values(), ids=MONTHLY)
def test_a_month_that_lacks_a_day_stops_with_the_day_and_changes_nothing(
    query: Any, instance: dg.DagsterInstance, materialize: Materialize, assets: dg.AssetsDefinition
) -> None:
    query("create table metrics.zone_pickups as select date '2023-01-01' as month")
    report(instance, "taxi_trips", "2023-01-01")
    report(instance, "stg_trips", *JANUARY)
    report(instance, "location_metrics", *JANUARY[:-1])
    for model in MODELS:
        report(instance, model, "2023-01-01")
    assert failure(materialize(assets, month="2023-01-01")) == (
        "2023-01 is not whole: location_metrics is not built for 2023-01-31. Nothing was changed. "
        "Materialize these partitions, then this month again."
    )
    assert query("select * from metrics.zone_pickups") == [(date(2023, 1, 1),)]


@pytest.mark.parametrize("assets", MONTHLY.values(), ids=MONTHLY)
def test_a_month_whose_trips_were_loaded_again_stops_with_its_days(
    query: Any, instance: dg.DagsterInstance, materialize: Materialize, assets: dg.AssetsDefinition
) -> None:
    for model in ("stg_trips", "location_metrics"):
        report(instance, model, *JANUARY)
    for model in MODELS:
        report(instance, model, "2023-01-01")
    report(instance, "taxi_trips", "2023-01-01")
    assert failure(materialize(assets, month="2023-01-01")).startswith(
        "2023-01 is not whole: stg_trips is older than taxi_trips for 2023-01-01 to 2023-01-31; "
        "location_metrics is older than taxi_trips for 2023-01-01 to 2023-01-31"
    )


@pytest.mark.parametrize("assets", MONTHLY.values(), ids=MONTHLY)
def test_a_run_of_several_months_is_refused_with_what_to_do(
    query: Any, materialize: Materialize, assets: dg.AssetsDefinition
) -> None:
    assert failure(materialize(assets, days=("2023-01-01", "2023-02-01"))) == (
        "This run covers more than one month (2023-01 to before 2023-03); its assets are built one month per run. "
        "Nothing was changed. Launch a backfill of these months: it makes a run for each."
    )
