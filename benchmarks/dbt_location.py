"""Runs of dbt_location in its own Python: by Dagster, and by dbt alone."""

import json
import subprocess
import sys
import time
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.histories import History
from ops.command import ROOT

FOLDER = ROOT / "dbt_location"
BIN = FOLDER / ".venv/bin"
DBT_ASSETS = ("stg_trips", "daily_metrics", "location_metrics")
DAILY_ASSETS = (*DBT_ASSETS, "manhattan_stats")


def dbt_results(history: History) -> dict[str, float]:
    """Seconds of the last dbt run: from its first to its last node, and of all models and all data tests."""
    newest = max((history.folder / "target").rglob("run_results.json"), key=lambda path: path.stat().st_mtime_ns)
    results: dict[str, Any] = json.loads(newest.read_text())

    def of(kind: str) -> float:
        return sum(float(each["execution_time"]) for each in results["results"] if each["unique_id"].startswith(kind))

    return {"dbt_seconds": results["elapsed_time"], "models_seconds": of("model."), "tests_seconds": of("test.")}


@cache
def constants() -> dict[str, Any]:
    """From the location's own code: dbt's command in a run of days, and the most days of a run."""
    script = (
        "import json; from dbt_location.defs.dbt_models import BUILD, MONTHLY, PARTITIONED;"
        "from dbt_location.partitions import MAX_DAYS_PER_RUN;"
        "build = [*BUILD, '--select', PARTITIONED, '--exclude', MONTHLY];"
        "print(json.dumps({'build': build, 'max_days_per_run': MAX_DAYS_PER_RUN}))"
    )
    output = subprocess.run([BIN / "python", "-c", script], cwd=FOLDER, stdout=subprocess.PIPE, check=True).stdout
    return dict(json.loads(output))


def prepare(history: History) -> None:
    """Parses the project for this warehouse, as an image build does, and builds the zones."""
    dbt(history, "parse")
    materialize(history, "stg_zones")


def materialize(history: History, *assets: str, first: date | None = None, last: date | None = None) -> float:
    """Runs `dagster asset materialize` on assets, for one day or a range; seconds of the whole process."""
    options = ["--select", ",".join(assets), "--module-name", "dbt_location.definitions"]
    if first and last:
        options += ["--partition-range", f"{first}...{last}"]
    elif first:
        options += ["--partition", f"{first}"]
    return _run(history, str(BIN / "dagster"), "asset", "materialize", *options)


def dbt(history: History, *arguments: str) -> float:
    """Runs dbt on the project; seconds of the whole process."""
    project = ("--project-dir", "analytics", "--profiles-dir", "analytics")
    return _run(history, str(BIN / "dbt"), *arguments, *project)


def dbt_build(history: History, first: date, last: date, *options: str) -> float:
    """Runs dbt for the days from first to last, as a run does; seconds of the whole process."""
    window = ("--event-time-start", f"{first}", "--event-time-end", f"{last + timedelta(days=1)}")
    return dbt(history, *constants()["build"], *window, *options)


def run_range(history: History, first: date, last: date, *assets: str) -> tuple[float, float]:
    """Runs assets over a range, as a run of a backfill does; seconds, and peak memory in MB (10^6 bytes)."""
    script = [str(BIN / "python"), "-P", str(ROOT / "demo/range_run.py"), "dbt_location.definitions"]
    start = time.perf_counter()
    peak = subprocess.run(
        [sys.executable, "-m", "benchmarks.peak", *script, ",".join(assets), f"{first}...{last}"],
        cwd=ROOT,
        env=history.env,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return time.perf_counter() - start, float(peak)


def _run(history: History, *command: str) -> float:
    log: Path = history.folder / "last_run.log"
    start = time.perf_counter()
    with log.open("w") as output:
        code = subprocess.run(command, cwd=FOLDER, env=history.env, stdout=output, stderr=output).returncode
    seconds = time.perf_counter() - start
    if code:
        sys.exit(f"{log.read_text()}\n{' '.join(command)} failed")
    return seconds
