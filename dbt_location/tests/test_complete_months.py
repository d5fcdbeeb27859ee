"""A month's metrics are built from a whole month: every day there, and newer than the trips; else nothing changes."""

from datetime import date

import dagster as dg
import pytest
from dbt_location.complete_months import gaps, month_gaps, ranges

JANUARY = [f"2023-01-{day:02}" for day in range(1, 32)]
DAYS = [date(2023, 2, day) for day in (1, 2, 3, 4)]


@pytest.fixture
def instance() -> dg.DagsterInstance:
    """An instance without any run."""
    return dg.DagsterInstance.ephemeral()


def built(*days: int, at: int = 10) -> dict[str, int]:
    return {f"2023-02-{day:02}": at for day in days}


def test_a_month_with_every_day_built_after_the_load_is_whole() -> None:
    assert gaps("location_metrics", DAYS, built(1, 2, 3, 4), "the trips", 9) == []


def test_days_that_were_never_built_are_named_as_ranges() -> None:
    assert gaps("location_metrics", DAYS, built(3), "the trips", 9) == [
        "location_metrics is not built for 2023-02-01 to 2023-02-02, 2023-02-04"
    ]


def test_days_older_than_the_load_of_their_month_are_named_as_ranges() -> None:
    assert gaps("location_metrics", DAYS, {**built(1, 2, at=8), **built(3, 4)}, "the trips", 9) == [
        "location_metrics is older than the trips for 2023-02-01 to 2023-02-02"
    ]


def test_missing_and_older_days_are_told_apart() -> None:
    assert gaps("location_metrics", DAYS, {**built(1, at=8), **built(2, 3)}, "the trips", 9) == [
        "location_metrics is not built for 2023-02-04",
        "location_metrics is older than the trips for 2023-02-01",
    ]


def test_days_are_whole_where_no_load_of_their_month_is_known() -> None:
    assert gaps("location_metrics", DAYS, built(1, 2, 3, 4), "the trips", None) == []


def test_consecutive_days_are_one_range_across_the_end_of_a_month() -> None:
    days = [date(2023, 1, 31), date(2023, 2, 1), date(2023, 2, 3)]
    assert ranges(days) == "2023-01-31 to 2023-02-01, 2023-02-03"


def report(instance: dg.DagsterInstance, asset: str, *partitions: str) -> None:
    """Writes into the instance that partitions of an asset were materialized."""
    for partition in partitions:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


def test_the_instance_says_which_days_are_older_than_their_month(instance: dg.DagsterInstance) -> None:
    report(instance, "location_metrics", *JANUARY)
    report(instance, "taxi_trips", "2023-01-01")
    report(instance, "location_metrics", *JANUARY[9:])
    assert month_gaps(instance, date(2023, 1, 1)) == [
        "location_metrics is older than the trips for 2023-01-01 to 2023-01-09"
    ]


def test_the_load_of_another_month_makes_no_day_old(instance: dg.DagsterInstance) -> None:
    report(instance, "taxi_trips", "2023-01-01")
    report(instance, "location_metrics", *JANUARY)
    report(instance, "taxi_trips", "2023-02-01")
    assert month_gaps(instance, date(2023, 1, 1)) == []


def test_a_table_that_is_not_built_since_its_days_were_is_named(instance: dg.DagsterInstance) -> None:
    report(instance, "location_metrics", *JANUARY)
    report(instance, "zone_pickups", "2023-01-01")
    report(instance, "location_metrics", "2023-01-05")
    assert month_gaps(instance, date(2023, 1, 1), ["zone_pickups", "borough_flows"]) == [
        "zone_pickups is older than location_metrics for 2023-01-01",
        "borough_flows is not built for 2023-01-01",
    ]
