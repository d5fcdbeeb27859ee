"""The live compose stack with automation on: months appear at the source, and nobody launches a run."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ops.locations import DATA_LOCATIONS
from tests import warehouse_answers
from tests.stack.backfill import DAILY_ASSETS, MONTHLY_ASSETS
from tests.stack.conftest import Stack
from tests.stack.webserver import FINISHED, wait_for

pytestmark = pytest.mark.drill

SENSORS = [
    ("ingestion_location", "new_trip_files"),
    ("ingestion_location", "new_zone_files"),
    ("dbt_location", "automatic_builds"),
]
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
# A month is loaded and its days are built in a minute or two; a busy machine takes longer.
SETTLE_SECONDS = 900
# With more months than land here. With years of them a busy machine spends its time on evaluations of days to come.
SETTINGS = {"TAXI_AUTOMATION": "on", "TAXI_SOURCE_INTERVAL_SECONDS": "10", "TAXI_END_DATE": "2023-09-01"}


@pytest.fixture(scope="module")
def started(project: Stack) -> Iterator[Stack]:
    """The stack as `docker compose up` starts it for the first time, except that it looks at the source more often."""
    yield project.start_empty("throttled.yaml", **SETTINGS)
    # Other modules expect three months alone.
    project.destroy()


@pytest.fixture
def automated(started: Stack) -> Stack:
    """The stack once everything that the source had at the start is built."""

    def first_months() -> list[dict[str, Any]]:
        return settle(started, "three months and ninety days", 3, 90, new_runs=7, before=set())

    started.once("first months", first_months)
    return started


def months(stack: Stack) -> list[str]:
    """The months that are loaded."""
    return [str(row[0]) for row in stack.query(warehouse_answers.MONTHS)]


def month_after(month: str) -> str:
    first = date.fromisoformat(f"{month}-01")
    return f"{first + timedelta(days=31):%Y-%m}"


def number_of_days(month: str) -> int:
    year, number = map(int, month.split("-"))
    return monthrange(year, number)[1]


def in_sample(stack: Stack, script: str) -> None:
    """Runs a shell script in the container of the sample's file server."""
    stack.command("docker", "compose", "--profile", "sample", "exec", "-T", "sample", "sh", "-ec", script)


def publish(stack: Stack, *months: str) -> None:
    """Adds successive months to the sample.

    Each file appears as a whole: the sensor must not see one that is still being written.
    """
    make = f"python generate.py files/new yellow {months[0]}-01 {month_after(months[-1])}-01"
    in_sample(stack, f"{make}; mv files/new/trip-data/* files/trip-data/; rm -r files/new")


def settle(
    stack: Stack, what: str, months: int, days: int, new_runs: int, before: set[str], failed: str | None = None
) -> list[dict[str, Any]]:
    """Waits until so many months and days are built by at least so many new runs, all ended; returns the new runs.

    Each report is then newer than what it compares with. Runs of the month ``failed`` fail, and no others.
    """
    webserver = stack.webserver

    def look() -> list[dict[str, Any]] | None:
        new = [run for run in webserver.runs() if run["runId"] not in before]
        if len(new) < new_runs or any(run["status"] not in FINISHED for run in new):
            return None
        there = {**dict.fromkeys(("taxi_trips", *MONTHLY_ASSETS), months), **dict.fromkeys(DAILY_ASSETS, days)}
        if {asset: webserver.materialized_partitions(asset) for asset in there} != there:
            return None
        return new if reports_are_current(stack) else None

    new = wait_for(what, SETTLE_SECONDS, look)
    not_built = {run["tags"].get("dagster/partition") for run in new if run["status"] != "SUCCESS"}
    assert not_built == ({failed} if failed else set()), new
    return new


def reports_are_current(stack: Stack) -> bool:
    """Whether every report was built after the tables that it compares with, of the month before if that is loaded."""
    built_at, loaded = stack.webserver.built_at, months(stack)
    return all(
        built_at("monthly_report", f"{month}-01") > built_at(table, f"{before}-01")
        for before, month in pairwise(loaded)
        for table in ("monthly_totals", "zone_pickups")
        if month_after(before) == month
    )


def wait_for_ticks(stack: Stack, count: int = 3) -> None:
    """Waits for further ticks of every sensor, so that what a tick would request has been requested."""
    seen = {sensor: {tick["tickId"] for tick in stack.webserver.ticks(*sensor)} for sensor in SENSORS}

    def look() -> bool | None:
        new = {sensor: {tick["tickId"] for tick in stack.webserver.ticks(*sensor)} - seen[sensor] for sensor in SENSORS}
        return all(len(ticks) >= count for ticks in new.values()) or None

    wait_for(f"{count} ticks of every sensor", SETTLE_SECONDS, look)


def of_asset(runs: list[dict[str, Any]], asset: str) -> list[dict[str, Any]]:
    return [run for run in runs if asset in run["assets"]]


def run_ids(stack: Stack) -> set[str]:
    return {run["runId"] for run in stack.webserver.runs()}


def check_landed(runs: list[dict[str, Any]], month: str) -> None:
    """One run loaded the month, one built its days, one its metrics, and at most one the next month's report."""
    (load,) = of_asset(runs, "taxi_trips")
    (build,) = of_asset(runs, "daily_metrics")
    reports = {run["tags"]["dagster/partition"]: run for run in of_asset(runs, "monthly_report")}
    metrics = reports.pop(f"{month}-01")
    assert {key: run["assets"] for key, run in reports.items()} in (
        {},
        {f"{month_after(month)}-01": ["monthly_report"]},
    )
    assert load["tags"]["dagster/partition"] == f"{month}-01"
    assert build["assets"] == sorted(DAILY_ASSETS)
    assert metrics["assets"] == sorted(MONTHLY_ASSETS)
    assert (build["tags"][START], build["tags"][END]) == (f"{month}-01", f"{month}-{number_of_days(month)}")


def check_answers(stack: Stack, folder: Path, *months: str) -> None:
    right = stack.right_answers(folder, *months)
    stack.check_days(right)
    stack.check_months(right)


def days(stack: Stack) -> int:
    return stack.webserver.materialized_partitions("daily_metrics")


def test_the_sensors_of_both_locations_with_data_run_from_the_start(started: Stack) -> None:
    sensors = {location: started.webserver.sensors(location) for location in DATA_LOCATIONS}
    statuses = {(location, name): status for location in sensors for name, status in sensors[location].items()}
    assert statuses == dict.fromkeys(SENSORS, "RUNNING")


def test_the_months_that_the_source_has_are_loaded_and_their_days_are_built(automated: Stack, tmp_path: Path) -> None:
    check_answers(automated, tmp_path, *months(automated))


def test_a_month_that_lands_is_loaded_and_its_days_and_metrics_are_built_in_one_run_each(
    automated: Stack, tmp_path: Path
) -> None:
    before, loaded = run_ids(automated), months(automated)
    month = month_after(loaded[-1])
    total = days(automated) + number_of_days(month)
    publish(automated, month)
    runs = settle(automated, f"{month}, its days and its metrics", len(loaded) + 1, total, new_runs=3, before=before)
    check_landed(runs, month)
    check_answers(automated, tmp_path, *loaded, month)


SHORTEN = """
import os, pyarrow.parquet as pq
file = "files/trip-data/yellow_tripdata_2023-02.parquet"
pq.write_table(pq.read_table(file).slice(1000), "files/new.parquet")
os.replace("files/new.parquet", file)
"""


def test_a_month_that_is_republished_is_loaded_again_and_its_days_and_metrics_are_built_once(
    automated: Stack, tmp_path: Path
) -> None:
    before, loaded = run_ids(automated), months(automated)
    in_sample(automated, f"python -c '{SHORTEN}'")
    runs = settle(automated, "February again", len(loaded), days(automated), new_runs=4, before=before)
    check_landed(runs, "2023-02")
    assert ["monthly_report"] in [run["assets"] for run in runs]
    check_answers(automated, tmp_path, *loaded)


@pytest.fixture
def zones_again(automated: Stack) -> tuple[list[dict[str, Any]], set[str]]:
    """The runs that republished zones led to, and the runs before them; nothing was built since."""

    def republish() -> tuple[list[dict[str, Any]], set[str]]:
        before = run_ids(automated)
        in_sample(automated, "touch files/misc/taxi_zone_lookup.csv")
        return settle(automated, "zones", len(months(automated)), days(automated), new_runs=2, before=before), before

    runs, before = automated.once("zones again", republish)
    if run_ids(automated) - before == {run["runId"] for run in runs}:
        return runs, before
    automated.forget("zones again")
    return automated.once("zones again", republish)


def test_zones_that_are_republished_are_loaded_again_and_build_no_day_and_nothing_happens_afterwards(
    automated: Stack, zones_again: tuple[list[dict[str, Any]], set[str]]
) -> None:
    loaded, (runs, before) = months(automated), zones_again
    assert sorted(run["assets"] for run in runs) == [["stg_zones"], ["taxi_zones"]]
    wait_for_ticks(automated)
    assert run_ids(automated) - before == {run["runId"] for run in runs}
    ticks = [automated.webserver.ticks(*sensor)[0] for sensor in SENSORS]
    assert [tick["status"] for tick in ticks] == ["SKIPPED"] * 3, ticks
    assert ticks[0]["skipReason"].startswith(f"{len(loaded)} of ")
    assert "not published yet" in ticks[0]["skipReason"]
    assert ticks[1]["skipReason"] == "zones loaded, nothing new"


@pytest.mark.usefixtures("zones_again")
def test_what_is_older_than_the_zones_is_a_notice_and_built_again_by_make_rebuild(automated: Stack) -> None:
    loaded = months(automated)
    is_well, printed = automated.status()
    assert (is_well, "notice: stg_zones was built" in printed) == (True, True), printed

    before = run_ids(automated)
    assert "Launched the backfill" in automated.command("make", "rebuild")
    assert "In progress already: location_metrics" in automated.command("make", "rebuild")
    new_runs = 1 + len(loaded)
    runs = settle(automated, "days and months again", len(loaded), days(automated), new_runs, before)
    assert [run["assets"] for run in of_asset(runs, "location_metrics")] == [["location_metrics", "manhattan_stats"]]
    # Automation builds tables and reports of several months as one backfill, whose runs have a range each.
    built = sorted(run["tags"]["dagster/asset_partition_range_start"] for run in of_asset(runs, "zone_pickups"))
    assert built == [f"{month}-01" for month in loaded]

    def nothing_is_outdated() -> bool | None:
        return "Nothing is outdated." in automated.command("make", "rebuild") or None

    wait_for("automation builds the reports again", SETTLE_SECONDS, nothing_is_outdated)


@dataclass
class Throttled:
    """What was observed after two months appeared while everything was down, the first of them throttled.

    Attributes:
        month: the throttled month.
        landed: the other one.
        while_throttled: the runs that were launched while the source refused the month.
        afterwards: the runs that were launched once it no longer did.
    """

    month: str
    landed: str
    while_throttled: list[dict[str, Any]]
    afterwards: list[dict[str, Any]]


def throttle(stack: Stack, folder: Path) -> Throttled:
    """Publishes two months while everything is down, then brings all back but for the first month; at last this one."""
    before, loaded = run_ids(stack), months(stack)
    throttled = month_after(loaded[-1])
    landed = month_after(throttled)
    total = days(stack) + number_of_days(landed)
    seen = {tick["tickId"] for tick in stack.webserver.ticks(*SENSORS[0])}
    stack.kill("sample")
    publish(stack, throttled, landed)
    in_sample(stack, f"echo /trip-data/yellow_tripdata_{throttled}.parquet > files/refused")
    stack.command("docker", "compose", "--profile", "sample", "stop", "sample")
    try:
        stack.command("docker", "compose", "up", "--detach", "--wait")

        def look() -> bool | None:
            new = [tick for tick in stack.webserver.ticks(*SENSORS[0]) if tick["tickId"] not in seen]
            return any("the source cannot be reached" in (tick["skipReason"] or "") for tick in new) or None

        wait_for("a tick that finds the source away", SETTLE_SECONDS, look)
    finally:
        stack.command("docker", "compose", "--profile", "sample", "start", "sample")
    failed = f"{throttled}-01"
    meanwhile = settle(stack, landed, len(loaded) + 1, total, new_runs=4, before=before, failed=failed)
    check_answers(stack, folder / "meanwhile", *loaded, landed)

    before = run_ids(stack)
    in_sample(stack, "rm files/refused")
    total += number_of_days(throttled)
    afterwards = settle(stack, throttled, len(loaded) + 2, total, new_runs=3, before=before)
    check_answers(stack, folder / "afterwards", *loaded, throttled, landed)
    return Throttled(throttled, landed, meanwhile, afterwards)


@pytest.fixture
def throttled(automated: Stack, tmp_path: Path) -> Throttled:
    return automated.once("throttled", lambda: throttle(automated, tmp_path))


@pytest.mark.release
def test_months_that_landed_while_all_was_down_are_loaded_when_the_source_is_back_but_for_the_throttled_one(
    throttled: Throttled,
) -> None:
    loads = of_asset(throttled.while_throttled, "taxi_trips")
    succeeded = {run["tags"]["dagster/partition"] for run in loads if run["status"] == "SUCCESS"}
    assert succeeded == {f"{throttled.landed}-01"}


@pytest.mark.release
def test_a_month_that_was_throttled_is_loaded_when_that_ends_and_its_days_and_metrics_are_built(
    throttled: Throttled,
) -> None:
    check_landed(throttled.afterwards, throttled.month)
