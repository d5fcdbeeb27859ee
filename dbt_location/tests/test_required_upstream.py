"""What an asset requires is what it declares: partitions of its own window, built and none of it outdated."""

from datetime import date

import dagster as dg
import pytest
from dbt_location.definitions import defs
from dbt_location.required_upstream import gaps, ranges, required

GRAPH = defs.resolve_asset_graph()
JANUARY = [f"2023-01-{day:02}" for day in range(1, 32)]
DAYS = ("stg_trips", "location_metrics")
TABLES = ("monthly_totals", "zone_pickups", "borough_flows")


@pytest.fixture
def instance() -> dg.DagsterInstance:
    """An instance without any run."""
    return dg.DagsterInstance.ephemeral()


def report(instance: dg.DagsterInstance, asset: str, *partitions: str) -> None:
    """Writes into the instance that partitions of an asset were materialized."""
    for partition in partitions:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


def january_gaps(instance: dg.DagsterInstance, *assets: str) -> list[str]:
    return gaps(GRAPH, instance, [dg.AssetKey(asset) for asset in assets], "2023-01-01")


@pytest.fixture
def built(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """An instance in which January's trips are loaded and its days and tables are built."""
    report(instance, "taxi_trips", "2023-01-01")
    for asset in DAYS:
        report(instance, asset, *JANUARY)
    for asset in TABLES:
        report(instance, asset, "2023-01-01")
    return instance


def test_consecutive_days_are_one_range_across_the_end_of_a_month() -> None:
    days = [date(2023, 1, 31), date(2023, 2, 1), date(2023, 2, 3)]
    assert ranges(days) == "2023-01-31 to 2023-02-01, 2023-02-03"


def test_a_month_requires_its_days_and_its_tables_and_neither_the_month_before_nor_the_zones() -> None:
    found = required(GRAPH, (dg.AssetKey("monthly_report"), "2023-02-01"))
    assert sorted((asset.to_user_string(), key) for asset, key in found) == [
        ("borough_flows", "2023-02-01"),
        *(("location_metrics", f"2023-02-{day:02}") for day in range(1, 29)),
        ("monthly_totals", "2023-02-01"),
        ("zone_pickups", "2023-02-01"),
    ]


def test_a_day_requires_its_month() -> None:
    found = required(GRAPH, (dg.AssetKey("stg_trips"), "2023-01-31"))
    assert found == [(dg.AssetKey("taxi_trips"), "2023-01-01")]


@pytest.mark.parametrize("asset", ["monthly_totals", "zone_map", "borough_flows_chart", "monthly_report"])
def test_a_month_that_is_built_in_order_lacks_nothing(built: dg.DagsterInstance, asset: str) -> None:
    assert january_gaps(built, asset) == []


def test_days_that_were_never_built_are_named_as_ranges(instance: dg.DagsterInstance) -> None:
    report(instance, "stg_trips", *JANUARY)
    report(instance, "location_metrics", *JANUARY[:9], *JANUARY[10:30])
    assert january_gaps(instance, "monthly_totals") == ["location_metrics is not built for 2023-01-10, 2023-01-31"]


def test_days_older_than_the_load_of_their_month_are_named_as_ranges(built: dg.DagsterInstance) -> None:
    report(built, "taxi_trips", "2023-01-01")
    report(built, "stg_trips", *JANUARY)
    report(built, "location_metrics", *JANUARY[9:])
    assert january_gaps(built, "monthly_totals") == [
        "location_metrics is older than stg_trips for 2023-01-01 to 2023-01-09"
    ]


def test_everything_that_a_reload_makes_old_is_named_in_the_order_to_build_it(built: dg.DagsterInstance) -> None:
    report(built, "taxi_trips", "2023-01-01")
    assert january_gaps(built, "zone_map") == [
        "stg_trips is older than taxi_trips for 2023-01-01 to 2023-01-31",
        "location_metrics is older than taxi_trips for 2023-01-01 to 2023-01-31",
        "zone_pickups is older than taxi_trips for 2023-01-01",
    ]


def test_days_are_whole_where_no_load_of_their_month_is_known(instance: dg.DagsterInstance) -> None:
    for asset in DAYS:
        report(instance, asset, *JANUARY)
    assert january_gaps(instance, "monthly_totals") == []


def test_the_load_of_another_month_makes_no_day_old(built: dg.DagsterInstance) -> None:
    report(built, "taxi_trips", "2023-02-01")
    assert january_gaps(built, "monthly_report") == []


def test_new_zones_make_nothing_old(built: dg.DagsterInstance) -> None:
    for asset in ("taxi_zones", "stg_zones"):
        built.report_runless_asset_event(dg.AssetMaterialization(asset))
    assert january_gaps(built, "monthly_report") == []


def test_the_month_before_may_be_missing_or_newer(built: dg.DagsterInstance) -> None:
    february = [f"2023-02-{day:02}" for day in range(1, 29)]
    for asset in DAYS:
        report(built, asset, *february)
    for asset in TABLES:
        report(built, asset, "2023-02-01")
    report(built, "monthly_totals", "2023-01-01")
    assert gaps(GRAPH, built, [dg.AssetKey("monthly_report")], "2023-02-01") == []


def test_a_table_that_is_not_built_since_its_days_were_is_named(built: dg.DagsterInstance) -> None:
    built.wipe_assets([dg.AssetKey("borough_flows")])
    report(built, "location_metrics", "2023-01-05")
    assert sorted(january_gaps(built, "monthly_report")) == [
        "borough_flows is not built for 2023-01-01",
        "monthly_totals is older than location_metrics for 2023-01-01",
        "zone_pickups is older than location_metrics for 2023-01-01",
    ]


def test_what_a_run_builds_itself_is_not_asked_for(built: dg.DagsterInstance) -> None:
    built.wipe_assets([dg.AssetKey(asset) for asset in TABLES])
    assert january_gaps(built, *TABLES) == []
