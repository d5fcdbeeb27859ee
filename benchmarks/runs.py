"""`make bench-runs`: runs on the live compose stack, from the request to the end, compared with the bare work.

The stack runs on the sample files under the project name STACK_PROJECT. What is compared is measured in turns, with the
same image, network and warehouse.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from benchmarks.measuring import DAILY_ASSETS, DBT_ASSETS, dbt_build, log, medians, save
from tests.stack.conftest import PROJECT, Stack
from tests.stack.webserver import FINISHED, wait_for

ROUNDS = 5
# Seconds before each backfill, as the daemon looks for backfills at intervals and a request can come at any time.
BACKFILL_PAUSES = (0, 10, 20)
IDLE_SECONDS = 120
MEGABYTES = {"KiB": 1024 / 1e6, "MiB": 1024**2 / 1e6, "GiB": 1024**3 / 1e6}
MONTHS = ("2023-01", "2023-02", "2023-03")
DAYS = [f"{date(2023, 1, 1) + timedelta(days=day)}" for day in range(90)]
DAY = date(2023, 3, 15)
# Months that are published at the source while the stack runs.
LANDING = (date(2023, 4, 1), date(2023, 5, 1), date(2023, 6, 1))
LOAD = """
from datetime import datetime
from ingestion_location.defs.trips.month_load import load_month
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse
load_month(TlcSource.from_env(), Warehouse.from_env(), datetime(2023, 2, 1), datetime(2023, 3, 1), "bench", print)
"""


def phases(stack: Stack, requested: float, run_id: str) -> dict[str, float]:
    """Seconds from the request of a run to each of its phases."""
    query = """
        query ($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection(limit: 1000) { events {
          ... on MessageEvent { timestamp eventType } } } } } }
    """
    events = stack.webserver.ask(query, id=run_id)["runOrError"]["eventConnection"]["events"]
    # The first event of each type.
    at = {event["eventType"]: float(event["timestamp"]) / 1000 for event in reversed(events)}
    # Docker writes nanoseconds, Python reads microseconds.
    started = stack.run_container(run_id)["State"]["StartedAt"][:26] + "+00:00"
    times = {
        "dequeued": at["RUN_STARTING"],
        "container_started": datetime.fromisoformat(started).timestamp(),
        "first_line": at["RUN_START"],
        "step_started": at["STEP_START"],
        "step_ended": at["STEP_SUCCESS"],
        "success": at["RUN_SUCCESS"],
    }
    return {name: round(time_ - requested, 3) for name, time_ in times.items()}


def run(stack: Stack, location: str, assets: list[str], partition: date) -> dict[str, float]:
    """Launches a run as the UI does, waits for its success, and returns its phases."""
    requested = time.time()
    run_id = stack.webserver.launch(location, assets, **{"dagster/partition": f"{partition}"})
    ended = stack.webserver.finished(run_id)
    assert ended["status"] == "SUCCESS", ended
    return phases(stack, requested, run_id)


def bare(stack: Stack, location: str, *command: str) -> float:
    """Runs a command in a container of a location's image, as its runs are; seconds of `docker run`."""
    start = time.perf_counter()
    stack.command(
        *("docker", "run", "--rm", "--network", f"{PROJECT}_{location}"),
        *("--env", "TLC_BASE_URL=http://sample:8000"),
        *("--volume", f"{PROJECT}_{location}_credentials:/run/credentials:ro", f"{location}:{PROJECT}", *command),
    )
    return time.perf_counter() - start


def beside_bare(stack: Stack, location: str, assets: list[str], partition: date, work: Sequence[str]) -> dict[str, Any]:
    """A run, and in containers of the same image Dagster's import and the work without Dagster."""
    rounds: list[dict[str, float]] = []
    bares: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        rounds.append(run(stack, location, assets, partition))
        import_dagster = bare(stack, location, "python", "-c", "import dagster")
        bares.append({"import_dagster": import_dagster, "work": bare(stack, location, *work)})
        log(f"{location}: {rounds[-1]['success']:.2f} s, bare {bares[-1]}")
    bare_seconds = medians(bares)
    seconds = medians(rounds)
    return {
        "bare_seconds": bare_seconds,
        "over_bare": round(seconds["success"] / sum(bare_seconds.values()), 2),
        "rounds": ROUNDS,
        "seconds_since_request": seconds,
    }


def ninety_days(stack: Stack, pause: float) -> dict[str, float]:
    """Requests ninety days as one asset backfill; seconds to each phase, until Dagster reports it as done."""
    query = """
        query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
          status runs(limit: 10) { creationTime startTime endTime } } } }
    """
    time.sleep(pause)
    requested = time.time()
    backfill = stack.webserver.backfill(DAILY_ASSETS, DAYS)

    def look() -> dict[str, Any] | None:
        data: dict[str, Any] = stack.webserver.ask(query, id=backfill)["partitionBackfillOrError"]
        return data if data["status"].startswith("COMPLETED") else None

    done = wait_for("the backfill's end", 600, look)
    seen = time.time()
    assert done["status"] == "COMPLETED_SUCCESS", done
    (only,) = done["runs"]
    times = {
        "run_created": only["creationTime"],
        "run_started": only["startTime"],
        "run_ended": only["endTime"],
        "done": seen,
    }
    return {name: round(time_ - requested, 2) for name, time_ in times.items()}


# A month's way through the stack, each part with an asset whose run is the last of it.
LANDED = {"load": "taxi_trips", "days": "daily_metrics", "report": "monthly_report"}


def land(stack: Stack, month: date) -> dict[str, float]:
    """Publishes a month at the source; seconds from then to the request, start and end of each of its runs."""
    before = {run["runId"] for run in stack.webserver.runs()}
    end = (month + timedelta(days=31)).replace(day=1)
    script = (
        f"python generate.py files/new yellow {month} {end};"
        f" mv files/new/trip-data/yellow_tripdata_{month:%Y-%m}.parquet files/trip-data/; rm -r files/new"
    )
    stack.command("docker", "compose", "--profile", "sample", "exec", "-T", "sample", "sh", "-ec", script)
    published = time.time()

    def look() -> dict[str, Any] | None:
        new = [run for run in stack.webserver.runs() if run["runId"] not in before]
        assert not any(run["status"] in FINISHED - {"SUCCESS"} for run in new), new
        # The newest one of each asset.
        ended = {asset: run for run in reversed(new) if run["status"] == "SUCCESS" for asset in run["assets"]}
        return ended if ended.keys() >= {*LANDED.values()} else None

    runs = wait_for(f"{month:%Y-%m} to be built", 600, look)
    ends = {"requested": "creationTime", "started": "startTime", "ended": "endTime"}
    timeline = {
        f"{part}_{name}": round(runs[asset][field] - published, 1)
        for part, asset in LANDED.items()
        for name, field in ends.items()
    }
    log(f"{month:%Y-%m}, seconds since it was published: {timeline}")
    return timeline


def landed(stack: Stack) -> list[dict[str, float]]:
    """Starts the stack anew with automation, waits for the first months, and publishes others, one after the other."""
    stack.destroy()
    stack.env |= {"TAXI_AUTOMATION": "on", "TAXI_SOURCE_INTERVAL_SECONDS": "10", "TAXI_END_DATE": ""}
    stack.up()

    def built() -> bool | None:
        return stack.webserver.materialized_partitions("monthly_report") == len(MONTHS) or None

    wait_for("three months, their days and metrics", 600, built)
    return [land(stack, month) for month in LANDING]


def transactions(stack: Stack) -> int:
    """The transactions in the instance's database since it was created; Dagster's queries are one each."""
    ((number,),) = stack.query("select xact_commit + xact_rollback from pg_stat_database where datname = 'dagster'")
    return int(number)


def idle(stack: Stack) -> dict[str, dict[str, float]]:
    """Per service, memory in MB (10^6 bytes) and CPU in percent of one core, as means over IDLE_SECONDS.

    Health checks run in the containers, so they count.
    """
    label = f"label=com.docker.compose.project={PROJECT}"
    name = '{{.ID}} {{.Label "com.docker.compose.service"}}'
    containers = stack.command("docker", "ps", "--filter", label, "--format", name).splitlines()
    services = dict(line.split() for line in containers)
    stats = ("docker", "stats", "--no-stream", "--format", "{{.ID}} {{.MemUsage}} {{.CPUPerc}}", *services)
    memory, cpu = defaultdict(list), defaultdict(list)
    end = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < end:
        for line in stack.command(*stats).splitlines():
            container, used, _, _, percent = line.split()
            if used == "0B":  # it has just ended
                continue
            memory[services[container]].append(float(used[:-3]) * MEGABYTES[used[-3:]])
            cpu[services[container]].append(float(percent.rstrip("%")))
    return {
        service: {
            "memory_mb": round(statistics.mean(memory[service]), 1),
            "cpu_percent": round(statistics.mean(cpu[service]), 2),
        }
        for service in memory
    }


def measure(stack: Stack) -> dict[str, Any]:
    """Measures everything on a stack that was just started without automation."""
    for location, assets in (("ingestion_location", ["taxi_zones"]), ("dbt_location", ["stg_zones"])):
        assert stack.webserver.finished(stack.webserver.launch(location, assets))["status"] == "SUCCESS"
    for load in [stack.webserver.launch_month(f"{month}-01") for month in MONTHS]:
        assert stack.webserver.finished(load)["status"] == "SUCCESS"

    rounds = [ninety_days(stack, pause) for pause in BACKFILL_PAUSES]
    log(f"ninety days: {rounds}")
    day = beside_bare(stack, "dbt_location", DBT_ASSETS, DAY, ["dbt", *dbt_build(DAY, DAY)])
    month = beside_bare(stack, "ingestion_location", ["taxi_trips"], date(2023, 2, 1), ["python", "-c", LOAD])
    timelines = landed(stack)
    log(f"the idle stack, over {IDLE_SECONDS} s")
    before, start = transactions(stack), time.monotonic()
    services = idle(stack)
    per_second = (transactions(stack) - before) / (time.monotonic() - start)
    return {
        "day": day,
        "idle": services,
        "instance_transactions_per_minute": round(60 * per_second),
        "landed": medians(timelines),
        "landed_to_built_seconds": [round(each["report_ended"] - each["load_ended"], 1) for each in timelines],
        "month": month,
        "ninety_days": {"rounds": len(BACKFILL_PAUSES), "seconds_since_request": medians(rounds)},
        "ninety_days_all_seconds": sorted(each["done"] for each in rounds),
    }


if __name__ == "__main__":
    stack = Stack()
    try:
        stack.up()
        figures = measure(stack)
    finally:
        stack.destroy()
    save("runs", figures)
