"""`make bench-history`: the size of the instance's database after 1,000 runs, and after pruning it.

The runs are executed in two processes on an embedded Postgres. Each is shaped like a day's run of dbt_location: one
step, five assets of one daily partition, four checks on each, and the messages that such a step logs.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
from dagster import DagsterInstance
from platform_location.event_log import prune_events

from benchmarks import server
from benchmarks.measuring import log, save

RUNS = 1_000
# Runs after the pruning, which show whether its space is used again.
MORE_RUNS = 200
PROCESSES = 2
ASSETS = 5
CHECKS_PER_ASSET = 4
MESSAGES = 10

DAYS = dg.DailyPartitionsDefinition("2020-01-01", end_date="2026-01-01")
KEYS = [f"model_{number}" for number in range(ASSETS)]
CHECKS = [
    dg.AssetCheckSpec(f"test_{number}", asset=key, description="A dbt test, of which every one is a check.")
    for key in KEYS
    for number in range(CHECKS_PER_ASSET)
]
INSTANCE = """
storage:
  postgres:
    postgres_url: postgresql+psycopg2://postgres@/dagster?host={host}
telemetry:
  enabled: false
"""


@dg.multi_asset(specs=[dg.AssetSpec(key, partitions_def=DAYS) for key in KEYS], check_specs=CHECKS, name="dbt_models")
def models(context: dg.AssetExecutionContext) -> Any:
    """One step of five assets and twenty checks, with metadata as dbt's have."""
    for number in range(MESSAGES):
        context.log.info(f"{number} of {MESSAGES} OK created sql window model analytics.model_{number} [INSERT 0 1]")
    for key in KEYS:
        metadata = {"unique_id": f"model.analytics.{key}", "invocation_id": context.run_id, "Execution Duration": 0.2}
        yield dg.MaterializeResult(key, metadata=metadata)
        for number in range(CHECKS_PER_ASSET):
            yield dg.AssetCheckResult(
                passed=True,
                asset_key=key,
                check_name=f"test_{number}",
                metadata={"unique_id": f"test.analytics.test_{number}_{key}.0123456789", "status": "pass"},
            )


def run(folder: Path, first: int, number: int) -> None:
    """Executes runs one after the other, each of a day of its own."""
    days = DAYS.get_partition_keys()
    job = dg.Definitions(
        assets=[models], jobs=[dg.define_asset_job("day", [models])], executor=dg.in_process_executor
    ).resolve_job_def("day")
    with DagsterInstance.from_config(str(folder)) as instance:
        for day in days[first : first + number]:
            assert job.execute_in_process(instance=instance, partition_key=day).success


def run_side_by_side(folder: Path, first: int, number: int) -> None:
    """Executes runs in several processes."""
    share = number // PROCESSES
    command = [sys.executable, "-m", "benchmarks.history", str(folder)]
    started = [
        subprocess.Popen([*command, f"{first + share * process}", f"{share}"], stderr=subprocess.DEVNULL)
        for process in range(PROCESSES)
    ]
    assert [process.wait() for process in started] == [0] * PROCESSES


def timed(work: Callable[[], Any]) -> float:
    """Seconds that some work takes."""
    start = time.monotonic()
    work()
    return round(time.monotonic() - start, 1)


def measure(folder: Path, socket: str, cursor: Any) -> dict[str, Any]:
    """Fills the instance, prunes it, fills it again; sizes in MB (10^6 bytes) of the whole database, with indexes."""

    def megabytes() -> float:
        cursor.execute("checkpoint")
        cursor.execute("select pg_database_size('dagster')")
        return round(int(cursor.fetchone()[0]) / 1e6, 1)

    def event_rows() -> dict[str, int]:
        cursor.execute("select coalesce(dagster_event_type, 'log message'), count(*) from event_logs group by 1")
        return dict(cursor.fetchall())

    (folder / "dagster.yaml").write_text(INSTANCE.format(host=quote(socket, safe="")))
    with DagsterInstance.from_config(str(folder)) as instance:
        size = {"empty": megabytes()}
        log(f"{RUNS} runs")
        seconds = {"runs": timed(lambda: run_side_by_side(folder, 0, RUNS))}
        cursor.execute("vacuum analyze")
        size["after_runs"] = megabytes()
        rows = event_rows()
        seconds["dry_run"] = timed(lambda: prune_events(instance, time.time(), dry_run=True, log=lambda _: None))
        seconds["prune"] = timed(lambda: prune_events(instance, time.time(), dry_run=False))
        left = event_rows()
        cursor.execute("vacuum analyze")
        size["pruned_and_vacuumed"] = megabytes()
        log(f"{MORE_RUNS} more runs")
        run_side_by_side(folder, RUNS, MORE_RUNS)
        size["pruned_and_more_runs"] = megabytes()
        prune_events(instance, time.time(), dry_run=False, log=lambda _: None)
        cursor.execute("vacuum full")
        size["more_runs_pruned_and_vacuumed_full"] = megabytes()
    return {
        "runs": RUNS,
        "more_runs": MORE_RUNS,
        "assets_per_run": ASSETS,
        "checks_per_run": ASSETS * CHECKS_PER_ASSET,
        "messages_per_run": MESSAGES,
        "megabytes": size,
        "kilobytes_per_run": round((size["after_runs"] - size["empty"]) * 1e3 / RUNS, 1),
        "event_rows": rows,
        "event_rows_left": left,
        "share_of_rows_left": round(sum(left.values()) / sum(rows.values()), 3),
        "seconds": seconds,
        "machine": server.machine(socket),
    }


def main() -> None:
    with server.running() as (root, socket):
        with server.connect(socket, "postgres") as connection:
            connection.cursor().execute("create database dagster")
        with server.connect(socket, "dagster") as connection, connection.cursor() as cursor:
            figures = measure(root, socket, cursor)
    save("history", figures)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
