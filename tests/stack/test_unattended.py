"""The live compose stack with automation on: months land at the source, and nobody launches anything.

The tests build on one another, in this order. They start the stack anew, with an open range and without a run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.locations import DATA_LOCATIONS
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
def unattended(project: Stack) -> Iterator[Stack]:
    """The stack as `docker compose up` starts it where nothing was loaded yet, but for a shorter look-out interval."""
    project.destroy()
    project.env |= {"TAXI_AUTOMATION": "on", "TAXI_SOURCE_INTERVAL_SECONDS": "10", "TAXI_END_DATE": ""}
    project.env["COMPOSE_FILE"] = "docker-compose.yml:tests/stack/throttled.yaml"
    project.up()
    yield project
    project.keep_logs("unattended.log")
    del project.env["COMPOSE_FILE"]


def in_sample(stack: Stack, script: str) -> None:
    """Runs a shell script where the sample's files are."""
    stack.command("docker", "compose", "--profile", "sample", "exec", "-T", "sample", "sh", "-ec", script)


def publish(stack: Stack, first: str, end: str) -> None:
    """Adds the months from the first to before the end to the sample, each as a whole.

    The sensor must not see a file that is still being written.
    """
    make = f"python generate.py files/new yellow {first} {end}"
    in_sample(stack, f"{make}; mv files/new/trip-data/* files/trip-data/; rm -r files/new")


def settle(
    stack: Stack, what: str, months: int, days: int, new_runs: int, before: set[str], failed: str | None = None
) -> list[dict[str, Any]]:
    """Waits until so many months and days are there, and at least so many new runs, all ended; returns the new runs.

    The month ``failed`` has runs that failed, no other one has.
    """
    webserver = stack.webserver

    def look() -> list[dict[str, Any]] | None:
        new = [run for run in webserver.runs() if run["runId"] not in before]
        if len(new) < new_runs or any(run["status"] not in FINISHED for run in new):
            return None
        there = {**dict.fromkeys(("taxi_trips", *MONTHLY_ASSETS), months), **dict.fromkeys(DAILY_ASSETS, days)}
        return new if {asset: webserver.materialized_partitions(asset) for asset in there} == there else None

    new = wait_for(what, PATIENCE_SECONDS, look)
    in_vain = {run["tags"].get("dagster/partition") for run in new if run["status"] != "SUCCESS"}
    assert in_vain == ({failed} if failed else set()), new
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


def check_landed(runs: list[dict[str, Any]], month: str, first: str, last: str) -> None:
    """One run loaded the month, one built its days, one its metrics."""
    (load,) = of_asset(runs, "taxi_trips")
    (build,) = of_asset(runs, "daily_metrics")
    assert load["tags"]["dagster/partition"] == month
    (metrics,) = of_asset(runs, "monthly_report")
    assert build["assets"] == DAILY_ASSETS
    assert metrics["assets"] == MONTHLY_ASSETS
    assert (build["tags"][START], build["tags"][END]) == (first, last)


def check_answers(stack: Stack, folder: Path, *months: str) -> None:
    right = stack.right_answers(folder, *months)
    stack.check_days(right)
    stack.check_months(right)


def test_the_sensors_of_both_locations_with_data_run_from_the_start(unattended: Stack) -> None:
    sensors = {location: unattended.webserver.sensors(location) for location in DATA_LOCATIONS}
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
    publish(unattended, "2023-04-01", "2023-05-01")
    runs = settle(unattended, "April, its days and its metrics", months=4, days=120, new_runs=3, before=before)
    check_landed(runs, "2023-04-01", "2023-04-01", "2023-04-30")
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
    check_landed(runs, "2023-02-01", "2023-02-01", "2023-02-28")
    check_answers(unattended, tmp_path, "2023-01", "2023-02", "2023-03", "2023-04")


MAY = "/trip-data/yellow_tripdata_2023-05.parquet"


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


def test_months_that_landed_while_all_was_down_are_loaded_when_the_source_is_back_but_for_the_throttled_one(
    unattended: Stack, tmp_path: Path
) -> None:
    before = run_ids(unattended)
    seen = {tick["tickId"] for tick in unattended.webserver.ticks(*SENSORS[0])}
    unattended.kill("sample")
    publish(unattended, "2023-05-01", "2023-07-01")
    in_sample(unattended, f"echo {MAY} > /tmp/refused")
    unattended.command("docker", "compose", "--profile", "sample", "stop", "sample")
    try:
        unattended.command("docker", "compose", "up", "--detach", "--wait")

        def look() -> bool | None:
            new = [tick for tick in unattended.webserver.ticks(*SENSORS[0]) if tick["tickId"] not in seen]
            return any("the source cannot be reached" in (tick["skipReason"] or "") for tick in new) or None

        wait_for("a tick that finds the source away", PATIENCE_SECONDS, look)
    finally:
        unattended.command("docker", "compose", "--profile", "sample", "start", "sample")
    settle(unattended, "June", months=5, days=150, new_runs=4, before=before, failed="2023-05-01")
    check_answers(unattended, tmp_path, "2023-01", "2023-02", "2023-03", "2023-04", "2023-06")


def test_a_month_that_was_throttled_is_loaded_when_that_ends_and_its_days_and_metrics_are_built(
    unattended: Stack, tmp_path: Path
) -> None:
    before = run_ids(unattended)
    in_sample(unattended, "rm /tmp/refused")
    runs = settle(unattended, "May", months=6, days=181, new_runs=3, before=before)
    check_landed(runs, "2023-05-01", "2023-05-01", "2023-05-31")
    check_answers(unattended, tmp_path, "2023-01", "2023-02", "2023-03", "2023-04", "2023-05", "2023-06")
