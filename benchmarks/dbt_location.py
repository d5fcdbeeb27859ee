"""Runs of dbt_location in its own Python: by Dagster, and by dbt alone."""

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any

from benchmarks import measuring
from benchmarks.histories import History
from ops.command import ROOT

FOLDER = ROOT / "dbt_location"
BIN = FOLDER / ".venv/bin"


def dbt_results(history: History) -> dict[str, float]:
    """Seconds of the last dbt run: from its first to its last node, and of all models and all data tests."""
    newest = max((history.folder / "target").rglob("run_results.json"), key=lambda path: path.stat().st_mtime_ns)
    results: dict[str, Any] = json.loads(newest.read_text())
    seconds: dict[str, float] = defaultdict(float)
    for node in results["results"]:
        seconds[node["unique_id"].partition(".")[0]] += node["execution_time"]
    return {
        "dbt_seconds": results["elapsed_time"],
        "models_seconds": seconds["model"],
        "tests_seconds": seconds["test"],
    }


def prepare(history: History) -> None:
    """Parses the project for this warehouse, as an image build does, and builds the zones."""
    _run(history, "dbt", "parse", "--project-dir", "analytics", "--profiles-dir", "analytics")
    materialize(history, ["stg_zones"])


def materialize(history: History, assets: Sequence[str], *partitions: str) -> float:
    """Runs `dagster asset materialize`; ``partitions`` are its options. Returns the seconds of the whole process."""
    selected = ("--select", ",".join(assets), "--module-name", "dbt_location.definitions")
    return _run(history, "dagster", "asset", "materialize", *selected, *partitions)


def dbt_build(history: History, first: date, last: date, *options: str) -> float:
    """Runs dbt for the days from first to last, as a run does; seconds of the whole process."""
    return _run(history, "dbt", *measuring.dbt_build(first, last), *options)


def run_range(history: History, first: date, last: date, assets: Sequence[str]) -> tuple[float, float]:
    """Runs assets over a range, as a run of a backfill does; seconds, and peak memory in MB (10^6 bytes)."""
    script = [str(BIN / "python"), "-P", str(ROOT / "demo/range_run.py"), "dbt_location.definitions"]
    command = [sys.executable, "-m", "benchmarks.peak", *script, ",".join(assets), f"{first}...{last}"]
    start = time.perf_counter()
    peak = subprocess.run(command, cwd=ROOT, env=history.env, stdout=subprocess.PIPE, check=True).stdout
    return time.perf_counter() - start, float(peak)


def _run(history: History, program: str, *arguments: str) -> float:
    """Runs a program of the location's environment; seconds of the whole process."""
    start = time.perf_counter()
    ended = subprocess.run(
        [BIN / program, *arguments],
        cwd=FOLDER,
        env=history.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.perf_counter() - start
    if ended.returncode:
        sys.exit(f"{ended.stdout}\n{program} {' '.join(arguments)} failed")
    return seconds
