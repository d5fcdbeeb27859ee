"""Everything that the stack can do at once, with the UI open, and the connections that it takes."""

import contextlib
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
MONTHLY_ASSETS = ["zone_map", "borough_flows", "monthly_report"]
MONTHS = ("2023-01", "2023-02", "2023-03")
DAYS = [f"{date(2023, 1, 1) + timedelta(days=day)}" for day in range(90)]
UI_CLIENTS = 3
# The UI's own.
UI_INTERVAL_SECONDS = 2
_BY_ROLE = (
    "select usename, count(*) from pg_stat_activity where backend_type = 'client backend' and usename <> 'postgres'"
    " group by usename"
)
# The graph of the assets, and what their nodes and the page of the daemons poll.
_LIVE = """
query ($keys: [AssetKeyInput!]!) {
  assetNodes { assetKey { path } dependencyKeys { path } partitionStats { numMaterialized numFailed } }
  assetsLatestInfo(assetKeys: $keys) { unstartedRunIds inProgressRunIds latestRun { status } }
  instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }
"""


@dataclass
class Backfill:
    """What came of it.

    Args:
        statuses: of every run.
        peaks: per role, the most connections that were seen at once.
        answers: of the UI's requests, how many were answered.
        errors: what the others came to.
        postgres_log: what Postgres wrote until the end.
    """

    statuses: list[str] = field(default_factory=list)
    peaks: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    errors: list[str] = field(default_factory=list)
    postgres_log: str = ""


def run_all(stack: "Stack") -> Backfill:
    """Loads three months, builds their ninety days and the metrics of the months, as much at once as is possible."""
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
        built(webserver.backfill(MONTHLY_ASSETS, [f"{month}-01" for month in MONTHS]), len(MONTHS))
    backfill.postgres_log = stack.command("docker", "compose", "logs", "--no-color", "postgres")
    return backfill


@contextlib.contextmanager
def _connections_counted(stack: "Stack", peaks: Counter[str]) -> Iterator[None]:
    """Looks at the sessions of every role, many times a second, and keeps the most of each."""
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
    """People look at all pages at once: each of them asks, one after the other, what the pages ask."""
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
