"""Three months, their days and their metrics: what is missing of them, or all at once with the UI open."""

import contextlib
import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from ops.command import ROOT
from ops.locations import LOCATIONS
from tests.stack.webserver import Webserver

if TYPE_CHECKING:
    from tests.stack.conftest import Stack

DAILY_ASSETS = ["stg_trips", "daily_metrics", "location_metrics", "manhattan_stats"]
METRICS = ["zone_pickups", "borough_flows", "monthly_totals"]
MONTHLY_ASSETS = [*METRICS, "zone_map", "borough_flows_chart", "monthly_report"]
MONTHS = ("2023-01", "2023-02", "2023-03")
# Of a backfill of all monthly assets: a month's tables and pictures are one run. Its report is another, which waits
# for the tables of the month before.
RUNS_OF_A_MONTH = 2
DAYS = [f"{date(2023, 1, 1) + timedelta(days=day)}" for day in range(90)]
BUILT = {
    **{"taxi_zones": 1, "taxi_trips": 3, "stg_zones": 1},
    **dict.fromkeys(DAILY_ASSETS, len(DAYS)),
    **dict.fromkeys(MONTHLY_ASSETS, len(MONTHS)),
}
UI_CLIENTS = 3
# As in Dagster's UI.
UI_INTERVAL_SECONDS = 2
_BY_ROLE = (
    "select usename, count(*) from pg_stat_activity where backend_type = 'client backend' and usename <> 'postgres'"
    " group by usename"
)
# What the asset graph, its nodes and the page of the daemons ask for.
_LIVE = """
query ($keys: [AssetKeyInput!]!) {
  assetNodes { assetKey { path } dependencyKeys { path } partitionStats { numMaterialized numFailed } }
  assetsLatestInfo(assetKeys: $keys) { unstartedRunIds inProgressRunIds latestRun { status } }
  instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }
"""


def built(stack: "Stack") -> dict[str, int]:
    """For each asset, how many partitions `make status` shows as built and up to date."""
    assets = json.loads(stack.status("FORMAT=json")[1])["assets"]
    return {asset["key"]: asset["counts"].get("built", 0) for asset in assets}


def build_missing(stack: "Stack", metrics: bool = True, seconds: float = 180) -> None:
    """Loads the zones and three months and builds their days and metrics, as far as they are not up to date.

    ``seconds`` is how long a run may take.
    """
    webserver = stack.webserver

    def lacks(*assets: str) -> bool:
        here = built(stack)
        return any(here[asset] < BUILT[asset] for asset in assets)

    def succeed(runs: list[str]) -> None:
        assert [webserver.finished(run, seconds)["status"] for run in runs] == ["SUCCESS"] * len(runs)

    if lacks("taxi_zones", "taxi_trips"):
        zones = webserver.launch("ingestion_location", ["taxi_zones"])
        succeed([zones, *(webserver.launch_month(f"{month}-01") for month in MONTHS)])
    if lacks("stg_zones", *DAILY_ASSETS):
        zones = webserver.launch("dbt_location", ["stg_zones"])
        runs = webserver.backfill_runs(webserver.backfill(DAILY_ASSETS, DAYS), seconds=seconds)
        succeed([zones, *(run["runId"] for run in runs)])
    if metrics and lacks(*MONTHLY_ASSETS):
        months = webserver.backfill(MONTHLY_ASSETS, [f"{month}-01" for month in MONTHS])
        succeed([run["runId"] for run in webserver.backfill_runs(months, RUNS_OF_A_MONTH * len(MONTHS))])


@dataclass
class Backfill:
    """What was observed while everything was built at once.

    Attributes:
        statuses: of every run.
        peaks: for each role, the most connections that were open at the same time.
        answers: number of the UI's requests that were answered.
        errors: the errors of the others.
        postgres_log: what Postgres had logged by the end.
    """

    statuses: list[str] = field(default_factory=list)
    peaks: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    errors: list[str] = field(default_factory=list)
    postgres_log: str = ""


def run_all(stack: "Stack") -> Backfill:
    """Loads three months and builds their ninety days and the metrics of the months, as much at once as possible."""
    webserver, backfill = stack.webserver, Backfill()

    def finished(*run_ids: str) -> None:
        backfill.statuses += [webserver.finished(run_id, 600)["status"] for run_id in run_ids]

    def built(backfill_id: str, runs: int = 1) -> None:
        backfill.statuses += [run["status"] for run in webserver.backfill_runs(backfill_id, runs, 600)]

    with _connections_counted(stack, backfill.peaks), _ui_open(webserver, backfill):
        zones = webserver.launch("ingestion_location", ["taxi_zones"])
        january, *later = [webserver.launch_month(f"{month}-01") for month in MONTHS]
        finished(zones, january)
        # While the other months load.
        stg_zones = webserver.launch("dbt_location", ["stg_zones"])
        first_days = webserver.backfill(DAILY_ASSETS, DAYS[:31])
        finished(*later)
        other_days = webserver.backfill(DAILY_ASSETS, DAYS[31:])
        finished(stg_zones)
        built(first_days)
        built(other_days)
        built(webserver.backfill(MONTHLY_ASSETS, [f"{month}-01" for month in MONTHS]), RUNS_OF_A_MONTH * len(MONTHS))
    backfill.postgres_log = stack.command("docker", "compose", "logs", "--no-color", "postgres")
    return backfill


@contextlib.contextmanager
def _connections_counted(stack: "Stack", peaks: Counter[str]) -> Iterator[None]:
    """Samples the number of sessions of every role twenty times a second and keeps the maximum of each."""
    psql = ("docker", "compose", "exec", "-T", "postgres", "psql", "-U", "postgres", "-qtAX")
    with subprocess.Popen(
        psql,
        cwd=ROOT,
        env=stack.env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as counter:
        assert counter.stdin is not None
        assert counter.stdout is not None
        counter.stdin.write(f"set application_name = 'counter';\n{_BY_ROLE} \\watch 0.05\n")
        counter.stdin.close()
        lines = counter.stdout

        def keep() -> None:
            for line in lines:
                role, bar, count = line.strip().rpartition("|")
                if bar:
                    peaks[role] = max(peaks[role], int(count))

        reader = threading.Thread(target=keep)
        reader.start()
        try:
            yield
        finally:
            stack.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'counter'")
            reader.join()


@contextlib.contextmanager
def _ui_open(webserver: Webserver, backfill: Backfill) -> Iterator[None]:
    """Simulates several people with the UI open: each sends the requests of all pages, one after the other."""
    closed = threading.Event()
    asks: list[Any] = [
        webserver.runs,
        webserver.locations,
        lambda: webserver.ask(_LIVE, keys=[{"path": [asset]} for asset in ("taxi_trips", *DAILY_ASSETS)]),
        lambda: webserver.ticks("ingestion_location", "new_trip_files"),
        *(lambda location=location: webserver.sensors(location) for location in LOCATIONS),
        *(
            lambda asset=asset: webserver.materialized_partitions(asset)
            for asset in ("taxi_trips", *DAILY_ASSETS, *MONTHLY_ASSETS)
        ),
    ]

    def look() -> None:
        while not closed.wait(UI_INTERVAL_SECONDS):
            for ask in asks:
                try:
                    ask()
                    backfill.answers += 1
                except Exception as error:
                    backfill.errors.append(f"{error}")

    people = [threading.Thread(target=look) for _ in range(UI_CLIENTS)]
    for person in people:
        person.start()
    try:
        yield
    finally:
        closed.set()
        for person in people:
            person.join()
