"""`make demo`: runs what Dagster says is missing or older than its upstream, so a second demo changes nothing."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, timedelta
from itertools import repeat
from typing import NamedTuple

import dagster as dg
import psycopg2
from dagster import DagsterEventType, DagsterInstance

from demo.postgres import REPORTS, STATE, running
from demo.range_run import FAILED
from demo.summary import measure, render
from ops.command import ROOT, OpsError, log
from ops.contract.workspace import check_settings, describe_workspace

SAMPLE = STATE / "sample"
LOGS = STATE / "logs"
DAILY_ASSETS = ("stg_trips", "daily_metrics", "location_metrics", "manhattan_stats")
MONTHLY_TABLES = ("zone_pickups", "borough_flows", "monthly_totals")
MONTHLY_ASSETS = (*MONTHLY_TABLES, "zone_map", "borough_flows_chart", "monthly_report")


class Job(NamedTuple):
    """A run of assets of a location: without a partition, of one, or of FIRST...LAST. Its log has its name."""

    name: str
    location: str
    assets: Sequence[str]
    partition: str | None = None


def write_sample(taxi_type: str, months: list[str]) -> None:
    """Writes the zones and the sample files of these months if some are missing."""
    wanted = [SAMPLE / f"trip-data/{taxi_type}_tripdata_{month[:7]}.parquet" for month in months]
    wanted.append(SAMPLE / "misc/taxi_zones.zip")
    if not all(path.exists() for path in wanted):
        end = (date.fromisoformat(months[-1]) + timedelta(days=31)).replace(day=1)
        python = ROOT / "ingestion_location/.venv/bin/python"
        subprocess.run([python, ROOT / "demo/sample/generate.py", SAMPLE, taxi_type, months[0], f"{end}"], check=True)


def newest(instance: DagsterInstance, asset: str) -> int:
    """Number of the latest materialization of an asset in Dagster's event log: larger is newer, 0 is none."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
    return records[0].storage_id if records else 0


def oldest(instance: DagsterInstance, assets: Sequence[str], partitions: Sequence[str]) -> int:
    """The same of the partition, among all of these assets, whose latest materialization is the oldest."""
    materialized = DagsterEventType.ASSET_MATERIALIZATION
    numbers = [instance.get_latest_storage_id_by_partition(dg.AssetKey(asset), materialized) for asset in assets]
    return min(by_partition.get(partition, 0) for by_partition in numbers for partition in partitions)


def loaded_from(instance: DagsterInstance, asset: str, partition: str | None, url: str) -> bool:
    """Whether the latest materialization of an asset's partition came from this URL."""
    partitions = [partition] if partition else None
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=partitions)
    found = [record.asset_materialization for record in instance.fetch_materializations(wanted, limit=1).records]
    return any(each and each.metadata.get("url") == dg.MetadataValue.url(url) for each in found)


def materialize(job: Job, env: Mapping[str, str]) -> None:
    """Runs a job in its location's own Python and waits for its end; an error has the failure's own message."""
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
        raise OpsError(f"\nmake demo stopped: {reason}\nThe whole log: {path}")
    log(f"  {job.name}: done in {time.monotonic() - start:.1f} s")


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
    """Yields the builds of the zones' model, and of all days if one is missing or older than a month or the zones."""
    if newest(instance, "stg_zones") <= newest(instance, "taxi_zones"):
        yield Job("stg_zones", "dbt_location", ["stg_zones"])
    if oldest(instance, DAILY_ASSETS, days) > max(newest(instance, "taxi_trips"), newest(instance, "stg_zones")):
        log(f"  {len(days)} days: built already")
    else:
        yield Job(f"{len(days)} days", "dbt_location", DAILY_ASSETS, f"{days[0]}...{days[-1]}")


def reports(instance: DagsterInstance, months: Sequence[str]) -> Iterator[Job]:
    """Yields the builds of the metrics of the months that are missing or older than a day."""
    newest_day = newest(instance, "location_metrics")
    for month in months:
        name = f"metrics of {month[:7]}"
        if oldest(instance, MONTHLY_ASSETS, [month]) > newest_day and (REPORTS / f"{month[:7]}.html").exists():
            log(f"  {name}: built already")
        else:
            yield Job(name, "dbt_location", MONTHLY_ASSETS, month)


def main() -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    taxi_type = os.environ.get("TLC_TAXI_TYPE") or "yellow"
    base_url = os.environ.get("TLC_BASE_URL", "").rstrip("/") or SAMPLE.as_uri()
    is_sample = base_url == SAMPLE.as_uri()
    check_settings()
    log("Starting the embedded Postgres")
    with running() as settings:
        env = {**settings, "TLC_BASE_URL": base_url, "TLC_TAXI_TYPE": taxi_type}
        log("Loading both code locations")
        assets = [asset for asset in describe_workspace(env=env) if asset["materializable"]]
        partitions = {asset["key"]: asset["partition_keys"] for asset in assets}
        months, days = partitions["taxi_trips"], partitions["daily_metrics"]
        if is_sample:
            log("No TLC_BASE_URL is set: using SAMPLE DATA, made up")
            write_sample(taxi_type, months)
        os.environ.update(settings)
        with DagsterInstance.get() as instance:
            log(f"Loading {len(months)} months from {base_url}")
            jobs = list(loads(instance, months, base_url, taxi_type))
            # After a failure, loads that wait are not started.
            with ThreadPoolExecutor(max_workers=2) as pool:
                list(pool.map(materialize, jobs, repeat(env)))
            log(f"Building {len(days)} days")
            for job in builds(instance, days):
                materialize(job, env)
            log(f"Building the metrics of {len(months)} months")
            # One after another: two first runs of dbt at once would create the same tables.
            for job in reports(instance, months):
                materialize(job, env)
        with closing(psycopg2.connect(host=env["WAREHOUSE_HOST"], dbname="warehouse", user="postgres")) as connection:
            summary = {
                **{"source": base_url, "taxi_type": taxi_type, "sample": is_sample},
                **measure(connection, months, days),
                "reports": [str(REPORTS / f"{month[:7]}.html") for month in months],
            }
    (STATE / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    log(f"\n{render(summary)}")
