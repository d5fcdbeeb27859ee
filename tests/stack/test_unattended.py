"""The live compose stack with automation on: months land at the source, and nobody launches anything.

The tests build on one another, in this order. They start the stack anew, with an open range and without a run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.workspace import LOCATIONS
from tests.stack.conftest import Stack
from tests.stack.webserver import FINISHED, wait_for

pytestmark = pytest.mark.drill

DAILY_ASSETS = ["daily_metrics", "location_metrics", "manhattan_stats", "stg_trips"]
MONTHLY_ASSETS = ["borough_flows", "monthly_report", "zone_map"]
SENSORS = [
    ("ingestion_location", "new_trip_files"),
    ("ingestion_location", "new_zone_files"),
    ("dbt_location", "automatic_builds"),
]
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
# A month is loaded and its days are built in a minute or two; a busy machine takes longer.
PATIENCE_SECONDS = 600


@pytest.fixture(scope="module")
def unattended(stack: Stack) -> Iterator[Stack]:
    """The stack as `docker compose up` starts it where nothing was loaded yet, but for a shorter look-out interval."""
    stack.command("make", "destroy")
    stack.env |= {"TAXI_AUTOMATION": "on", "TAXI_SOURCE_INTERVAL_SECONDS": "10", "TAXI_END_DATE": ""}
    stack.up()
    yield stack
    stack.keep_logs("unattended.log")


def in_sample(stack: Stack, script: str) -> None:
    """Runs a shell script where the sample's files are."""
    stack.command("docker", "compose", "--profile", "sample", "exec", "-T", "sample", "sh", "-ec", script)


def settle(stack: Stack, what: str, months: int, days: int, new_runs: int, before: set[str]) -> list[dict[str, Any]]:
    """Waits until so many months and days are there, and at least so many new runs, all ended; returns the new runs."""
    webserver = stack.webserver

    def look() -> list[dict[str, Any]] | None:
        new = [run for run in webserver.runs() if run["runId"] not in before]
        if len(new) < new_runs or any(run["status"] not in FINISHED for run in new):
            return None
        there = {**dict.fromkeys(("taxi_trips", *MONTHLY_ASSETS), months), **dict.fromkeys(DAILY_ASSETS, days)}
        return new if {asset: webserver.materialized_partitions(asset) for asset in there} == there else None

    new = wait_for(what, PATIENCE_SECONDS, look)
    assert {run["status"] for run in new} == {"SUCCESS"}, new
    return new


def wait_for_ticks(stack: Stack, count: int = 3) -> None:
    """Waits until every sensor has ticked a few times more, so that what a tick would request has been requested."""
    seen = {sensor: {tick["tickId"] for tick in stack.webserver.ticks(*sensor)} for sensor in SENSORS}

    def look() -> bool | None:
        new = {sensor: {tick["tickId"] for tick in stack.webserver.ticks(*sensor)} - seen[sensor] for sensor in SENSORS}
        return all(len(ticks) >= count for ticks in new.values()) or None

    wait_for(f"{count} ticks of every sensor", PATIENCE_SECONDS, look)


def of_asset(runs: list[dict[str, Any]], asset: str) -> list[dict[str, Any]]:
    return [run for run in runs if asset in run["assets"]]


def run_ids(stack: Stack) -> set[str]:
    return {run["runId"] for run in stack.webserver.runs()}


def check_landed(runs: list[dict[str, Any]], month: str, first: str, last: str) -> float:
    """One run loaded the month, one built its days, one its metrics; seconds from the end of the first to the last."""
    (load,) = of_asset(runs, "taxi_trips")
    (build,) = of_asset(runs, "daily_metrics")
    assert load["tags"]["dagster/partition"] == month
    (metrics,) = of_asset(runs, "monthly_report")
    assert build["assets"] == DAILY_ASSETS
    assert metrics["assets"] == MONTHLY_ASSETS
    assert (build["tags"][START], build["tags"][END]) == (first, last)
    return float(metrics["endTime"] - load["endTime"])


def check_answers(stack: Stack, folder: Path, *months: str) -> None:
    right = stack.right_answers(folder, *months)
    stack.check_days(right)
    stack.check_months(right)


def test_the_sensors_of_both_locations_run_from_the_start(unattended: Stack) -> None:
    sensors = {location: unattended.webserver.sensors(location) for location in LOCATIONS}
    statuses = {(location, name): status for location in sensors for name, status in sensors[location].items()}
    assert statuses == dict.fromkeys(SENSORS, "RUNNING")


def test_three_months_that_the_source_has_are_loaded_and_their_days_are_built(
    unattended: Stack, tmp_path: Path
) -> None:
    settle(unattended, "three months and ninety days", months=3, days=90, new_runs=7, before=set())
    check_answers(unattended, tmp_path, "2023-01", "2023-02", "2023-03")


def test_a_month_that_lands_is_loaded_and_its_days_and_metrics_are_built_in_one_run_each(
    unattended: Stack, tmp_path: Path
) -> None:
    before = run_ids(unattended)
    # Moved to its place as a whole: the sensor must not see a file that is still being written.
    in_sample(
        unattended,
        "python generate.py files/new yellow 2023-04-01 2023-05-01;"
        " mv files/new/trip-data/yellow_tripdata_2023-04.parquet files/trip-data/; rm -r files/new",
    )
    runs = settle(unattended, "April, its days and its metrics", months=4, days=120, new_runs=3, before=before)
    seconds = check_landed(runs, "2023-04-01", "2023-04-01", "2023-04-30")
    print(f"April: its days and metrics were built {seconds:.0f} s after its load")
    assert seconds < PATIENCE_SECONDS
    check_answers(unattended, tmp_path, "2023-01", "2023-02", "2023-03", "2023-04")


SHORTEN = """
import os, pyarrow.parquet as pq
file = "files/trip-data/yellow_tripdata_2023-02.parquet"
pq.write_table(pq.read_table(file).slice(1000), "files/new.parquet")
os.replace("files/new.parquet", file)
"""


def test_a_month_that_is_republished_is_loaded_again_and_its_days_and_metrics_are_built_once(
    unattended: Stack, tmp_path: Path
) -> None:
    before = run_ids(unattended)
    in_sample(unattended, f"python -c '{SHORTEN}'")
    runs = settle(unattended, "February again", months=4, days=120, new_runs=3, before=before)
    seconds = check_landed(runs, "2023-02-01", "2023-02-01", "2023-02-28")
    print(f"February again: its days and metrics were built {seconds:.0f} s after its load")
    check_answers(unattended, tmp_path, "2023-01", "2023-02", "2023-03", "2023-04")


def test_zones_that_are_republished_are_loaded_again_and_build_no_day(unattended: Stack) -> None:
    before = run_ids(unattended)
    in_sample(unattended, "touch files/misc/taxi_zone_lookup.csv")
    runs = settle(unattended, "the zones again", months=4, days=120, new_runs=2, before=before)
    assert sorted(run["assets"] for run in runs) == [["stg_zones"], ["taxi_zones"]]


def test_nothing_more_happens_afterwards(unattended: Stack) -> None:
    wait_for_ticks(unattended)
    newest = [run["assets"] for run in unattended.webserver.runs()]
    assert newest[:2] == [["stg_zones"], ["taxi_zones"]]
    ticks = [unattended.webserver.ticks(*sensor)[0] for sensor in SENSORS]
    assert [tick["status"] for tick in ticks] == ["SKIPPED"] * 3, ticks
    assert ticks[0]["skipReason"].startswith("4 of ")
    assert "not published yet" in ticks[0]["skipReason"]
    assert ticks[1]["skipReason"] == "zones loaded, nothing new"
