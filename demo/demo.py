"""`make demo`: loads the months, builds the days and the metrics of the months, and prints a summary.

It asks Dagster what is materialized and runs only what is missing or older than its upstream, so a second demo changes
nothing.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import psycopg2
from dagster import DagsterEventType, DagsterInstance

from demo.postgres import REPORTS, STATE, running
from demo.range_run import FAILED
from demo.summary import measure, render
from ops.command import ROOT, OpsError
from ops.contract.workspace import check_settings, describe_workspace

SAMPLE = STATE / "sample"
LOGS = STATE / "logs"
DAILY_ASSETS = ("stg_trips", "daily_metrics", "location_metrics", "manhattan_stats")
MONTHLY_ASSETS = (
    *("zone_pickups", "borough_flows", "monthly_totals"),
    *("zone_map", "borough_flows_chart", "monthly_report"),
)


NEXT = """
Where to look next
  make dev          Dagster's UI on this state, at http://127.0.0.1:3000
  make query SQL="select * from metrics.manhattan_stats limit 5"
  make assets       every asset, its location, partitions and upstream
  .demo/summary.json, .demo/logs/"""


class RunError(OpsError):
    """A run failed; the message is the failure's own, and where the whole log is."""


class Job(NamedTuple):
    """A run of assets of a location: without a partition, of one, or of FIRST...LAST. Its log has its name."""

    name: str
    location: str
    assets: Sequence[str]
    partition: str | None = None


def log(text: str) -> None:
    print(text, flush=True)


def write_sample(taxi_type: str, months: list[str]) -> None:
    """Writes the zones and the sample files of these months if some are missing."""
    wanted = [SAMPLE / f"trip-data/{taxi_type}_tripdata_{month[:7]}.parquet" for month in months]
    wanted.append(SAMPLE / "misc/taxi_zones.zip")
    if not all(path.exists() for path in wanted):
        end = (date.fromisoformat(months[-1]) + timedelta(days=31)).replace(day=1)
        python = ROOT / "ingestion_location/.venv/bin/python"
        subprocess.run([python, ROOT / "demo/sample/generate.py", SAMPLE, taxi_type, months[0], f"{end}"], check=True)


def latest(instance: DagsterInstance, asset: str) -> Mapping[str, int]:
    """Returns per partition of an asset the storage id of its latest materialization: larger is newer."""
    return instance.get_latest_storage_id_by_partition(dg.AssetKey(asset), DagsterEventType.ASSET_MATERIALIZATION)


def loaded_from(instance: DagsterInstance, asset: str, partition: str | None, url: str) -> bool:
    """Whether the latest materialization of an asset's partition came from this URL."""
    partitions = [partition] if partition else None
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=partitions)
    found = [record.asset_materialization for record in instance.fetch_materializations(wanted, limit=1).records]
    return any(each and each.metadata.get("url") == dg.MetadataValue.url(url) for each in found)


def windows(days: list[str]) -> Iterator[str]:
    """Groups days, in order, into windows of consecutive ones, each FIRST...LAST."""
    start = previous = None
    for day in map(date.fromisoformat, days):
        if previous is not None and day != previous + timedelta(days=1):
            yield f"{start}...{previous}"
            start = day
        start, previous = start or day, day
    if previous is not None:
        yield f"{start}...{previous}"


def report_path(month: str) -> Path:
    """Returns the path of a month's report, given its partition key."""
    return REPORTS / f"{month[:7]}.html"


def materialize(job: Job, env: Mapping[str, str]) -> None:
    """Runs a job in its location's own Python and waits for its end.

    Raises:
        RunError: the run failed.
    """
    start = time.monotonic()
    folder = ROOT / job.location
    # -P keeps the modules beside the script out of the location's imports.
    command = [str(folder / ".venv/bin/python"), "-P", str(ROOT / "demo/range_run.py")]
    command += [f"{job.location}.definitions", ",".join(job.assets), *filter(None, [job.partition])]
    path = LOGS / f"{job.name.replace(' ', '_')}.log"
    with path.open("w") as output:
        code = subprocess.run(command, cwd=folder, env=env, stdout=output, stderr=output).returncode
    if code != 0:
        printed = path.read_text().strip()
        # A run that did not even start, for example because of an import error, says why in its last line.
        reason = printed.rpartition(FAILED)[2] if FAILED in printed else printed.rpartition("\n")[2]
        raise RunError(f"{reason}\nThe whole log: {path}")
    log(f"  {job.name}: done in {time.monotonic() - start:.1f} s")


def materialize_all(jobs: Sequence[Job], env: Mapping[str, str]) -> None:
    """Runs jobs, two at a time. After a failure no other job is started."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        running_jobs = [pool.submit(materialize, job, env) for job in jobs]
        try:
            for job in as_completed(running_jobs):
                job.result()
        except RunError:
            pool.shutdown(cancel_futures=True)
            raise


def loads(instance: DagsterInstance, months: Sequence[str], base_url: str, taxi_type: str) -> Iterator[Job]:
    """Yields the loads of the zones and the months that did not come from this source yet."""
    if not loaded_from(instance, "taxi_zones", None, f"{base_url}/misc/taxi_zone_lookup.csv"):
        yield Job("taxi_zones", "ingestion_location", ["taxi_zones"])
    for month in months:
        name = f"taxi_trips {month[:7]}"
        if loaded_from(instance, "taxi_trips", month, f"{base_url}/trip-data/{taxi_type}_tripdata_{month[:7]}.parquet"):
            log(f"  {name}: loaded already")
        else:
            yield Job(name, "ingestion_location", ["taxi_trips"], month)


def builds(instance: DagsterInstance, days: Sequence[str]) -> Iterator[Job]:
    """Yields the builds of the zones' model and of the days that are missing or older than their month."""
    zones = instance.get_latest_materialization_event(dg.AssetKey("taxi_zones"))
    model = instance.get_latest_materialization_event(dg.AssetKey("stg_zones"))
    zones_changed = model is None or zones is None or model.timestamp < zones.timestamp
    if zones_changed:
        yield Job("stg_zones", "dbt_location", ["stg_zones"])
    months = latest(instance, "taxi_trips")
    built = [latest(instance, asset) for asset in DAILY_ASSETS]
    stale = [
        day for day in days if zones_changed or any(by_day.get(day, -1) < months[f"{day[:7]}-01"] for by_day in built)
    ]
    if not stale:
        log(f"  {len(days)} days: built already")
    for window in windows(stale):
        yield Job(f"days {window.replace('...', ' to ')}", "dbt_location", DAILY_ASSETS, window)


def reports(instance: DagsterInstance, months: Sequence[str]) -> Iterator[Job]:
    """Yields the builds of the metrics of the months that are missing or older than their days."""
    days = latest(instance, "location_metrics")
    built = [latest(instance, asset) for asset in MONTHLY_ASSETS]
    for before, month in zip([None, *months], months, strict=False):
        name = f"metrics of {month[:7]}"
        # A report compares its month with the one before.
        newest = max(built_at for day, built_at in days.items() if f"{day[:7]}-01" in (before, month))
        if all(by_month.get(month, -1) > newest for by_month in built) and report_path(month).exists():
            log(f"  {name}: built already")
        else:
            yield Job(name, "dbt_location", MONTHLY_ASSETS, month)


def main() -> None:
    """Runs the demo on the settings of the environment.

    Raises:
        LocationError: a location does not load, usually because of a wrong setting.
        RunError: a run failed.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    seconds: dict[str, float] = {}

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        seconds[name] = round(time.monotonic() - start, 1)

    taxi_type = os.environ.get("TLC_TAXI_TYPE") or "yellow"
    base_url = os.environ.get("TLC_BASE_URL", "").rstrip("/") or SAMPLE.as_uri()
    is_sample = base_url == SAMPLE.as_uri()
    check_settings()
    log("Starting the embedded Postgres")
    with running() as settings:
        env = {**settings, "TLC_BASE_URL": base_url, "TLC_TAXI_TYPE": taxi_type}
        log("Loading both code locations")
        described = describe_workspace(env=env)
        partitions = {asset["key"]: asset["partition_keys"] for asset in described if asset["materializable"]}
        months, days = partitions["taxi_trips"], partitions["daily_metrics"]
        if is_sample:
            log("No TLC_BASE_URL is set: using SAMPLE DATA, made up")
            write_sample(taxi_type, months)
        seconds["start"] = round(time.monotonic() - begun, 1)
        os.environ.update(settings)
        with DagsterInstance.get() as instance:
            with phase("load"):
                log(f"Loading {len(months)} months from {base_url}")
                materialize_all(list(loads(instance, months, base_url, taxi_type)), env)
            with phase("build"):
                log(f"Building {len(days)} days")
                for job in builds(instance, days):
                    materialize(job, env)
            with phase("months"):
                log(f"Building the metrics of {len(months)} months")
                # One after another: two first runs of dbt at once would create the same tables.
                for job in reports(instance, months):
                    materialize(job, env)
        with closing(psycopg2.connect(host=env["WAREHOUSE_HOST"], dbname="warehouse", user="postgres")) as connection:
            summary = {
                **{"source": base_url, "taxi_type": taxi_type, "sample": is_sample},
                **measure(connection, months, days),
                "seconds": seconds,
                "reports": [str(report_path(month)) for month in months],
            }
    (STATE / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    log(f"\n{render(summary)}\n{NEXT}")
