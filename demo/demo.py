"""`make demo`: runs what is missing or outdated by Dagster's record (ops/lineage.py); a second one changes nothing."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import psycopg2
from dagster import DagsterEventType, DagsterInstance

from demo.postgres import REPORTS, STATE, running
from demo.summary import measure, render
from ops.command import ROOT, OpsError, log
from ops.contract.compare import lineage_assets, not_judged
from ops.contract.workspace import check_settings, describe_workspace
from ops.lineage import Asset, Key, Lineage, Materialization, Partition
from ops.locations import DATA_LOCATIONS
from ops.status.partitions import format_ranges, ranges

SAMPLE = STATE / "sample"
LOGS = STATE / "logs"
# The file at the source that each partition is loaded from.
FILES = {"taxi_zones": "misc/taxi_zone_lookup.csv", "taxi_trips": "trip-data/{taxi_type}_tripdata_{month}.parquet"}
# In the order in which they are built.
CADENCES = {"": "what has no partitions", "daily": "days", "monthly": "months"}


class Job(NamedTuple):
    """A run of assets of a location: without a partition, of one, or of FIRST...LAST. Its log has its name."""

    name: str
    location: str
    assets: Sequence[str]
    partition: str | None = None


def write_sample(taxi_type: str, months: Sequence[str]) -> None:
    """Writes the zones and the sample files of these months if some are missing."""
    wanted = [SAMPLE / f"trip-data/{taxi_type}_tripdata_{month[:7]}.parquet" for month in months]
    wanted.append(SAMPLE / "misc/taxi_zones.zip")
    if not all(path.exists() for path in wanted):
        end = (date.fromisoformat(months[-1]) + timedelta(days=31)).replace(day=1)
        python = ROOT / "ingestion_location/.venv/bin/python"
        subprocess.run([python, ROOT / "demo/sample/generate.py", SAMPLE, taxi_type, months[0], f"{end}"], check=True)


def read_assets(env: Mapping[str, str]) -> list[Asset]:
    """Reads the assets of all locations, with what each is made from."""
    described = [one for one in describe_workspace(env=env) if one["materializable"]]
    if sentences := not_judged(described):
        raise OpsError("\n".join(sentences))
    return lineage_assets(described)


def read_lineage(instance: DagsterInstance, assets: Sequence[Asset]) -> Lineage:
    """Reads the newest materializations; a report whose page is gone counts as missing."""
    newest: dict[Partition, Materialization] = {}
    for asset in assets:
        key = dg.AssetKey.from_user_string(asset.key)
        if asset.kind:
            ids = instance.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION)
            newest |= {(asset.key, partition): Materialization(id, 0) for partition, id in ids.items()}
        elif records := instance.fetch_materializations(key, limit=1).records:
            newest[asset.key, None] = Materialization(records[0].storage_id, records[0].timestamp)
        for partition in asset.keys if asset.key == "monthly_report" else ():
            if not (REPORTS / f"{partition[:7]}.html").exists():
                newest.pop((asset.key, partition), None)
    return Lineage(assets, newest)


def loaded_from(instance: DagsterInstance, asset: str, partition: str | None, url: str) -> bool:
    """Whether the latest materialization of an asset's partition came from this URL."""
    partitions = [partition] if partition else None
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=partitions)
    found = [record.asset_materialization for record in instance.fetch_materializations(wanted, limit=1).records]
    return any(each and each.metadata.get("url") == dg.MetadataValue.url(url) for each in found)


class Workers:
    """Processes of the locations' own Python. They are kept for other jobs, because each imports for seconds."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._idle: dict[str, list[subprocess.Popen[str]]] = {location: [] for location in DATA_LOCATIONS}
        self._all: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._all:
            worker.communicate()

    def materialize(self, job: Job) -> None:
        """Runs a job and waits for its end; an error has the failure's own message."""
        start = time.monotonic()
        path = LOGS / f"{job.name.replace(' ', '_')}.log"
        path.unlink(missing_ok=True)
        idle = self._idle[job.location]
        worker = idle.pop() if idle else self._start(job.location, path)
        assert worker.stdin
        assert worker.stdout
        # A worker that has ended is found by its missing answer.
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(json.dumps([str(path), job.assets, job.partition]) + "\n")
            worker.stdin.flush()
        answer = worker.stdout.readline()
        # A run that did not even start, for example because of an import error, says why in its last line.
        if reason := json.loads(answer) if answer else path.read_text().strip().rpartition("\n")[2]:
            raise OpsError(f"\nmake demo stopped: {reason}\nThe whole log: {path}")
        idle.append(worker)
        log(f"  {job.name}: done in {time.monotonic() - start:.1f} s")

    def _start(self, location: str, path: Path) -> "subprocess.Popen[str]":
        folder = ROOT / location
        # -P keeps the modules beside the script out of the location's imports.
        command = [str(folder / ".venv/bin/python"), "-P", str(ROOT / "demo/range_run.py"), f"{location}.definitions"]
        with path.open("w") as output:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": output}
            worker = subprocess.Popen(command, cwd=folder, env=self._env, text=True, **pipes)
        self._all.append(worker)
        return worker


def loads(instance: DagsterInstance, lineage: Lineage, source: str, taxi_type: str) -> Iterator[Job]:
    """Yields the loads of what is made from nothing else and is missing or did not come from this source."""
    for asset in lineage.assets.values():
        for key in asset.every_key if not asset.parents else ():
            name = f"{asset.key} {(key or '')[:7]}".strip()
            file = FILES.get(asset.key, "").format(taxi_type=taxi_type, month=(key or "")[:7])
            is_there = (asset.key, key) in lineage.newest
            if is_there and (not file or loaded_from(instance, asset.key, key, f"{source}/{file}")):
                log(f"  {name}: loaded already")
            else:
                yield Job(name, asset.location, [asset.key], key)


def builds(lineage: Lineage, cadence: str, rebuild: bool) -> Iterator[Job]:
    """Yields the builds of what is missing or outdated: days as ranges, others partition by partition."""
    locations: dict[str, dict[Key, list[str]]] = {}
    for name, keys in lineage.due(rebuild).items():
        for key in keys if lineage.assets[name].cadence == cadence else ():
            locations.setdefault(lineage.assets[name].location, {}).setdefault(key, []).append(name)
    for location, due in locations.items():
        every_key = lineage.assets[next(iter(due.values()))[0]].every_key
        # Neighbours of which the same assets are due are one run.
        for assets, members in groupby(every_key, due.get):
            partitions = [*members]
            if assets and cadence == "daily":
                first, last = partitions[0], partitions[-1]
                yield Job(f"{location} {first} to {last}", location, assets, f"{first}...{last}")
            elif assets and cadence:
                yield from (Job(f"{location} {str(key)[:7]}", location, assets, key) for key in partitions)
            elif assets:
                yield Job(", ".join(assets), location, assets)


def outdated(lineage: Lineage) -> Iterator[str]:
    """Yields a line about each asset that has partitions which were built before the newest zones."""
    for asset in lineage.assets.values():
        since = {key: by for key in asset.every_key if (by := lineage.outdated_by(asset.key, key))}
        if since:
            named = format_ranges(ranges(asset.keys, since.__contains__))
            yield f"  {asset.key} {named}: built before the newest {', '.join(sorted(set(since.values())))}"


def main(rebuild: bool = False) -> None:
    """Loads and builds; ``rebuild``: also what was built before the newest zones."""
    LOGS.mkdir(parents=True, exist_ok=True)
    taxi_type = os.environ.get("TLC_TAXI_TYPE") or "yellow"
    base_url = os.environ.get("TLC_BASE_URL", "").rstrip("/") or SAMPLE.as_uri()
    is_sample = base_url == SAMPLE.as_uri()
    check_settings()
    log("Starting the embedded Postgres")
    with running() as settings:
        env = {**settings, "TLC_BASE_URL": base_url, "TLC_TAXI_TYPE": taxi_type}
        log("Loading both code locations")
        assets = read_assets(env)
        keys = {asset.key: asset.keys for asset in assets}
        months, days = keys["taxi_trips"], keys["daily_metrics"]
        if is_sample:
            log("No TLC_BASE_URL is set: using SAMPLE DATA, made up")
            write_sample(taxi_type, months)
        os.environ.update(settings)
        with DagsterInstance.get() as instance, Workers(env) as workers:
            log(f"Loading {len(months)} months from {base_url}")
            jobs = list(loads(instance, read_lineage(instance, assets), base_url, taxi_type))
            # After a failure, loads that wait are not started.
            with ThreadPoolExecutor(max_workers=2) as pool:
                list(pool.map(workers.materialize, jobs))
            for cadence, what in CADENCES.items():
                log(f"Building {what}")
                # One after another: two first runs of dbt at once would create the same tables.
                for job in (jobs := list(builds(read_lineage(instance, assets), cadence, rebuild))):
                    workers.materialize(job)
                if not jobs:
                    log("  built already")
            if lines := list(outdated(read_lineage(instance, assets))):
                log("\n".join(["Outdated, and built again by make demo REBUILD=1", *lines]))
        with closing(psycopg2.connect(host=env["WAREHOUSE_HOST"], dbname="warehouse", user="postgres")) as connection:
            summary = {
                **{"source": base_url, "taxi_type": taxi_type, "sample": is_sample},
                **measure(connection, months, days),
                "reports": [str(REPORTS / f"{month[:7]}.html") for month in months],
            }
    (STATE / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    log(f"\n{render(summary)}")
