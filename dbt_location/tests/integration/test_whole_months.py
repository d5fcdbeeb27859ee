"""A month's metrics are built from a whole month: every day there, and newer than the trips; else nothing changes."""

from collections.abc import Callable
from datetime import date
from typing import Any

import dagster as dg
from dbt_location.metrics.complete_months import gaps, month_gaps, ranges
from dbt_location.metrics.zone_map import zone_map
from integration.conftest import failure

JANUARY = [f"2023-01-{day:02}" for day in range(1, 32)]
DAYS = [date(2023, 2, day) for day in (1, 2, 3, 4)]


def built(*days: int, at: int = 10) -> dict[str, int]:
    return {f"2023-02-{day:02}": at for day in days}


def test_a_month_with_every_day_built_after_the_load_is_whole() -> None:
    assert gaps("location_metrics", DAYS, built(1, 2, 3, 4), loaded=9) == []


def test_days_that_were_never_built_are_named_as_ranges() -> None:
    assert gaps("location_metrics", DAYS, built(3), loaded=9) == [
        "location_metrics is not built for 2023-02-01 to 2023-02-02, 2023-02-04"
    ]


def test_days_older_than_the_load_of_their_month_are_named_as_ranges() -> None:
    assert gaps("location_metrics", DAYS, {**built(1, 2, at=8), **built(3, 4)}, loaded=9) == [
        "location_metrics is older than the trips for 2023-02-01 to 2023-02-02"
    ]


def test_missing_and_older_days_are_told_apart() -> None:
    assert gaps("location_metrics", DAYS, {**built(1, at=8), **built(2, 3)}, loaded=9) == [
        "location_metrics is not built for 2023-02-04",
        "location_metrics is older than the trips for 2023-02-01",
    ]


def test_days_are_whole_where_no_load_of_their_month_is_known() -> None:
    assert gaps("location_metrics", DAYS, built(1, 2, 3, 4), loaded=None) == []


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
    assert month_gaps(instance, ["location_metrics"], date(2023, 1, 1), date(2023, 2, 1)) == [
        "location_metrics is older than the trips for 2023-01-01 to 2023-01-09"
    ]


def test_the_load_of_another_month_makes_no_day_old(instance: dg.DagsterInstance) -> None:
    report(instance, "taxi_trips", "2023-01-01")
    report(instance, "location_metrics", *JANUARY)
    report(instance, "taxi_trips", "2023-02-01")
    assert month_gaps(instance, ["location_metrics"], date(2023, 1, 1), date(2023, 2, 1)) == []


def test_a_month_that_is_not_whole_stops_its_metrics_with_the_days_and_changes_nothing(
    query: Any, instance: dg.DagsterInstance, materialize: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    query("create table metrics.zone_map as select date '2023-01-01' as month")
    report(instance, "taxi_trips", "2023-01-01")
    report(instance, "location_metrics", *JANUARY[:-1])
    assert failure(materialize(zone_map, month="2023-01-01")) == (
        "2023-01 is not whole: location_metrics is not built for 2023-01-31. Nothing was changed. "
        "Materialize these days, then this month again."
    )
    assert query("select * from metrics.zone_map") == [(date(2023, 1, 1),)]


def test_a_run_of_several_months_is_refused_with_what_to_do(
    query: Any, materialize: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    assert failure(materialize(zone_map, days=("2023-01-01", "2023-02-01"))) == (
        "This run is of the months from 2023-01 to before 2023-03, and its pictures are of one. Nothing was changed. "
        "Launch a backfill of these months: it makes a run for each."
    )
