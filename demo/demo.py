"""`make demo`: loads the months, builds the days and the months' metrics, and says what came of it.

It asks Dagster what is there already and runs only what is missing or older than what it is made from, so a second run
changes nothing.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import psycopg2
from dagster import DagsterEventType, DagsterInstance

from demo.postgres import REPORTS, STATE, running
from demo.runs import RunFailed, materialize
from demo.summary import measure, render
from ops.command import ROOT
from ops.contract.workspace import check_settings, describe_workspace
from ops.locations import LocationError

SAMPLE = STATE / "sample"
DAILY_ASSETS = ("stg_trips", "daily_metrics", "location_metrics", "manhattan_stats")
MONTHLY_ASSETS = ("zone_map", "borough_flows", "monthly_report")


NEXT = """
Where to look next
  make dev          Dagster's UI on this state, at http://127.0.0.1:3000
  make query SQL="select * from metrics.manhattan_stats limit 5"
  make assets       every asset, its location, partitions and upstream
  .demo/summary.json, .demo/logs/"""


def say(text: str) -> None:
    """Prints a line of progress at once."""
    print(text, flush=True)


def write_sample(taxi_type: str, months: list[str]) -> None:
    """Writes the zones and the sample files of these months where some are missing."""
    wanted = [SAMPLE / f"trip-data/{taxi_type}_tripdata_{month[:7]}.parquet" for month in months]
    wanted.append(SAMPLE / "misc/taxi_zones.zip")
    if not all(path.exists() for path in wanted):
        end = (date.fromisoformat(months[-1]) + timedelta(days=31)).replace(day=1)
        python = ROOT / "ingestion_location/.venv/bin/python"
        subprocess.run([python, ROOT / "demo/sample/generate.py", SAMPLE, taxi_type, months[0], f"{end}"], check=True)


def latest(instance: DagsterInstance, asset: str) -> Mapping[str, int]:
    """Per partition of an asset, the storage id of its newest materialization: larger is newer."""
    return instance.get_latest_storage_id_by_partition(dg.AssetKey(asset), DagsterEventType.ASSET_MATERIALIZATION)


def loaded_from(instance: DagsterInstance, asset: str, partition: str | None, url: str) -> bool:
    """Whether the newest materialization of an asset's partition came from this URL."""
    result = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[partition] if partition else None), limit=1
    )
    return bool(
        result.records
        and result.records[0].asset_materialization
        and result.records[0].asset_materialization.metadata.get("url") == dg.MetadataValue.url(url)
    )


def windows(days: list[str]) -> Iterator[tuple[str, str]]:
    """Groups days, in order, into runs of consecutive ones: first and last day of each."""
    start = previous = None
    for day in map(date.fromisoformat, days):
        if previous is not None and day != previous + timedelta(days=1):
            yield f"{start}", f"{previous}"
            start = day
        start, previous = start or day, day
    if previous is not None:
        yield f"{start}", f"{previous}"


def report_path(month: str) -> Path:
    """Where the report of a month is, given its partition key."""
    return REPORTS / f"{month[:7]}.html"


class Job(NamedTuple):
    """A run of assets of a location, by the name that its log has, with no partition, one, or the ends of a range."""

    name: str
    location: str
    assets: Sequence[str]
    partitions: Sequence[str] = ()


class Demo:
    """One run of the demo: what it works on, and the seconds that its phases took."""

    def __init__(self, env: Mapping[str, str], instance: DagsterInstance, partitions: Mapping[str, list[str]]) -> None:
        """Takes the environment of the runs, the instance, and the partition keys per asset."""
        self.env = env
        self.instance = instance
        self.months = partitions["taxi_trips"]
        self.days = partitions["daily_metrics"]
        self.logs = STATE / "logs"
        self.logs.mkdir(exist_ok=True)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures a phase."""
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start

    def load(self, base_url: str, taxi_type: str) -> None:
        """Loads the zones and the months that did not come from this source yet, two at a time."""
        zones_url = f"{base_url}/misc/taxi_zone_lookup.csv"
        jobs: list[Job] = []
        if not loaded_from(self.instance, "taxi_zones", None, zones_url):
            jobs.append(Job("taxi_zones", "ingestion_location", ["taxi_zones"]))
        for month in self.months:
            url = f"{base_url}/trip-data/{taxi_type}_tripdata_{month[:7]}.parquet"
            if loaded_from(self.instance, "taxi_trips", month, url):
                say(f"  taxi_trips {month[:7]}: loaded already")
            else:
                name = f"taxi_trips {month[:7]}"
                jobs.append(Job(name, "ingestion_location", ["taxi_trips"], (month,)))
        self._run(jobs)

    def build(self) -> None:
        """Builds the zones' model and the days that are missing or older than their month."""
        zones = self.instance.get_latest_materialization_event(dg.AssetKey("taxi_zones"))
        model = self.instance.get_latest_materialization_event(dg.AssetKey("stg_zones"))
        zones_changed = model is None or zones is None or model.timestamp < zones.timestamp
        if zones_changed:
            self._run([Job("stg_zones", "dbt_location", ["stg_zones"])])
        months = latest(self.instance, "taxi_trips")
        built = [latest(self.instance, asset) for asset in DAILY_ASSETS]
        stale = [
            day
            for day in self.days
            if zones_changed or any(by_day.get(day, -1) < months[f"{day[:7]}-01"] for by_day in built)
        ]
        if not stale:
            say(f"  {len(self.days)} days: built already")
        for first, last in windows(stale):
            self._run([Job(f"days {first} to {last}", "dbt_location", DAILY_ASSETS, (first, last))])

    def report(self) -> None:
        """Builds the metrics of the months that are missing or older than their days, two at a time."""
        days = latest(self.instance, "location_metrics")
        built = [latest(self.instance, asset) for asset in MONTHLY_ASSETS]
        jobs = []
        for before, month in zip([None, *self.months], self.months, strict=False):
            name = f"metrics of {month[:7]}"
            # A report compares its month with the one before.
            newest = max(built_at for day, built_at in days.items() if f"{day[:7]}-01" in (before, month))
            if all(by_month.get(month, -1) > newest for by_month in built) and report_path(month).exists():
                say(f"  {name}: built already")
            else:
                jobs.append(Job(name, "dbt_location", MONTHLY_ASSETS, (month,)))
        self._run(jobs)

    def _run(self, jobs: Sequence[Job]) -> None:
        """Runs jobs, two at a time; of those that have not begun when one fails, none is run."""

        def run(job: Job) -> None:
            start = time.monotonic()
            log = self.logs / f"{job.name.replace(' ', '_')}.log"
            materialize(job.location, job.assets, self.env, *job.partitions, log=log, instance=self.instance)
            say(f"  {job.name}: done in {time.monotonic() - start:.1f} s")

        with ThreadPoolExecutor(max_workers=2) as pool:
            running_jobs = [pool.submit(run, job) for job in jobs]
            try:
                for job in as_completed(running_jobs):
                    job.result()
            except RunFailed:
                pool.shutdown(cancel_futures=True)
                raise


def main() -> None:
    """Runs the demo on the settings of the environment.

    Raises:
        LocationError: a location does not load, usually for a wrong setting.
        RunFailed: a run failed.
    """
    STATE.mkdir(exist_ok=True)
    start = time.monotonic()
    taxi_type = os.environ.get("TLC_TAXI_TYPE") or "yellow"
    base_url = os.environ.get("TLC_BASE_URL", "").rstrip("/") or SAMPLE.as_uri()
    source = {"source": base_url, "taxi_type": taxi_type, "sample": base_url == SAMPLE.as_uri()}
    check_settings()
    say("Starting the embedded Postgres")
    with running() as settings:
        env = {**settings, "TLC_BASE_URL": base_url, "TLC_TAXI_TYPE": taxi_type}
        say("Loading both code locations")
        described = describe_workspace(env=env)
        partitions = {asset["key"]: asset["partition_keys"] for asset in described if asset["materializable"]}
        if source["sample"]:
            say("No TLC_BASE_URL is set: using SAMPLE DATA, made up")
            write_sample(taxi_type, partitions["taxi_trips"])
        os.environ.update(settings)
        with DagsterInstance.get() as instance:
            demo = Demo(env, instance, partitions)
            demo.seconds["start"] = time.monotonic() - start
            say(f"Loading {len(demo.months)} months from {base_url}")
            with demo.phase("load"):
                demo.load(base_url, taxi_type)
            say(f"Building {len(demo.days)} days")
            with demo.phase("build"):
                demo.build()
            say(f"Building the metrics of {len(demo.months)} months")
            with demo.phase("months"):
                demo.report()
        connection = psycopg2.connect(host=env["WAREHOUSE_HOST"], dbname="warehouse", user="postgres")
        try:
            summary = measure(connection, demo.months, demo.days, demo.seconds, source)
        finally:
            connection.close()
    summary["reports"] = [str(report_path(month)) for month in demo.months]
    path = STATE / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    say("\n" + render(json.loads(path.read_text())))
    say(NEXT)


if __name__ == "__main__":
    try:
        main()
    except (LocationError, RunFailed) as error:
        sys.exit(f"\nmake demo stopped: {error}")
