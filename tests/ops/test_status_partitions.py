"""The states of partitions, and ranges of them."""

from dataclasses import replace

from ops.lineage import Asset
from ops.status.facts import Run
from ops.status.partitions import asset_statuses, format_ranges, ranges
from tests.ops.stack_facts import DAILY, DAYS, MONTHS, NOW, REPORT, TRIPS, ZONES, failed_run, newest

MODEL = Asset("stg_zones", "dbt_location", parents=("taxi_zones",))


def states(*assets: Asset, **changed: object) -> dict[str, list[str]]:
    """Per asset the states of its keys in order."""
    arguments = {"unfinished": (), "failed": (), "newest": newest(), **changed}
    found = asset_statuses(assets, **arguments)  # type: ignore[arg-type]
    return {status.asset.key: list(status.states.values()) for status in found}


def test_neighbouring_keys_are_one_range_and_a_gap_ends_it() -> None:
    assert ranges("abcde", {"a", "b", "d"}.__contains__) == [("a", "b"), ("d", "d")]


def test_too_many_ranges_are_counted() -> None:
    assert format_ranges([("a", "b"), ("d", "d"), ("f", "g")], most=2) == "a..b, d, 1 more"


def test_a_partition_without_a_state_in_dagster_is_missing() -> None:
    assert states(replace(TRIPS, materialized=frozenset({"2023-01-01"}))) == {"taxi_trips": ["built", "missing"]}


def test_a_built_day_is_stale_once_its_month_is_loaded_again() -> None:
    again = newest(taxi_trips=[("2023-01-01", 30), ("2023-02-01", 2)])
    assert states(TRIPS, DAILY, newest=again)["daily_metrics"] == ["stale", "stale", "built", "built"]


def test_monthly_metrics_are_stale_once_the_trips_are_loaded_again() -> None:
    again = newest(taxi_trips=[("2023-01-01", 30), ("2023-02-01", 2)])
    assert states(TRIPS, DAILY, REPORT, newest=again)["monthly_report"] == ["stale", "built"]


def test_monthly_metrics_are_stale_once_one_of_the_days_is_built_again() -> None:
    again = newest(daily_metrics=[(DAYS[0], 11), (DAYS[1], 12), (DAYS[2], 13), (DAYS[3], 40)])
    assert states(TRIPS, DAILY, REPORT, newest=again)["monthly_report"] == ["built", "stale"]


def test_new_zones_make_their_model_stale() -> None:
    zones_again = newest(taxi_zones=[(None, 50)], stg_zones=[(None, 6)])
    assert states(ZONES, MODEL, newest=zones_again)["stg_zones"] == ["stale"]


def test_days_that_were_built_before_the_newest_zones_are_outdated() -> None:
    daily = replace(DAILY, parents=("taxi_trips", "stg_zones"))
    found = states(TRIPS, daily, MODEL, newest=newest(stg_zones=[(None, 12)]))
    assert found["daily_metrics"] == ["outdated", "built", "built", "built"]


def test_a_partition_is_queued_or_running_as_its_run_is() -> None:
    busy = replace(TRIPS, in_progress=frozenset(MONTHS))
    waits = failed_run(first="2023-01-01", status="QUEUED")
    goes_on = failed_run(first="2023-02-01", status="STARTED")
    assert states(busy, unfinished=[waits, goes_on]) == {"taxi_trips": ["queued", "running"]}


def test_an_unpartitioned_asset_has_failed_if_a_run_failed_after_its_last_build() -> None:
    run = failed_run("taxi_zones", None)
    assert states(ZONES, failed=[run]) == {"taxi_zones": ["failed"]}
    assert states(ZONES, failed=[replace(run, ended=NOW - 10 * 3600)]) == {"taxi_zones": ["built"]}


def test_without_the_event_log_nothing_is_stale_and_unpartitioned_assets_are_unknown() -> None:
    found = states(TRIPS, DAILY, ZONES, newest=None)
    assert found == {"taxi_trips": ["built"] * 2, "daily_metrics": ["built"] * 4, "taxi_zones": ["unknown"]}


def test_upstream_assets_come_first_and_unpartitioned_ones_last() -> None:
    assert list(states(ZONES, REPORT, DAILY, TRIPS)) == ["taxi_trips", "daily_metrics", "monthly_report", "taxi_zones"]


def test_a_range_run_covers_all_of_its_days() -> None:
    run: Run = failed_run("daily_metrics", DAYS[1], last=DAYS[3], status="STARTED")
    busy = replace(DAILY, in_progress=frozenset(DAYS[1:]))
    assert states(busy, unfinished=[run]) == {"daily_metrics": ["built", "running", "running", "running"]}
