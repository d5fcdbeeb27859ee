"""A backup of a compose stack, restored in the cluster: what it had is there, and work goes on."""

import contextlib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.locations import LOCATIONS
from tests.kubernetes.conftest import MART, Cluster
from tests.stack.conftest import Stack
from tests.stack.webserver import FINISHED, wait_for

pytestmark = [pytest.mark.drill, pytest.mark.release]
MONTH = "2023-01"
# The month's tables, in the order of their rows.
TABLES = (
    # Of the month alone: the sensors may load the next one before the tables are read.
    "select count(*)::int, round(sum(total_amount)::numeric, 2)::text from raw_taxis.trips"
    " where pickup_datetime < '2023-02-01'",
    f"select * from {MART} where date_of_business < '2023-02-01' order by 1",
)


@dataclass
class Compose:
    """What a compose stack had when its backup was made.

    Attributes:
        backup: the folder of the backup.
        ended: the runs that had ended, with status and times.
        tables: the rows of TABLES.
        report: the page of the month.
        loading: a run that was in progress.
        queued: a run that waited.
    """

    backup: Path
    ended: list[dict[str, Any]]
    tables: list[Any]
    report: str
    loading: str
    queued: str


@dataclass
class Moved:
    """The cluster after the restore, and what it had right after it."""

    cluster: Cluster
    compose: Compose
    tables: list[Any]
    report: str


def ended(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    compared = ("runId", "status", "creationTime", "startTime", "endTime", "assets")
    return [{name: run[name] for name in compared} for run in runs if run["status"] in FINISHED]


def backed_up(stack: Stack, cluster: Cluster, folder: Path) -> Compose:
    """A backup of a stack with the cluster's settings and one month, while two loads are in progress and one waits."""
    settings = yaml.safe_load(Path(cluster.env["KUBERNETES_VALUES"]).read_text())["locations"]["environment"]
    stack.start("small.yaml", **settings, TAXI_AUTOMATION="on", TAXI_END_DATE="2023-02-01")
    webserver = stack.webserver
    wait_for("a month and its report", 300, lambda: webserver.materialized_partitions("monthly_report") or None)
    with cluster.source_silent():
        # The pool has two places.
        loads = [webserver.launch_month(f"{MONTH}-01") for _ in range(3)]
        for load in loads[:2]:
            webserver.step_started(load)
        stack.command("make", "backup", BACKUP_DIR=str(folder))
        tables = [stack.query(table) for table in TABLES]
        status, report = stack.report(f"{MONTH}.html")
        runs = webserver.runs()
    assert status == 200
    (queued,) = [run["runId"] for run in runs if run["status"] == "QUEUED"]
    (backup,) = folder.glob("*Z")
    return Compose(backup, ended(runs), tables, report, loads[0], queued)


def page(url: str) -> str | None:
    """A page of the door, as soon as what is behind the door answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())
    return None


@pytest.fixture(scope="module")
def moved(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    """The cluster after the restore. Its sensors are on, as those of the compose stack were."""
    stack = Stack()
    try:
        compose = backed_up(stack, cluster, tmp_path_factory.mktemp("backups"))
    finally:
        stack.destroy()
    restored = cluster.make("restore", BACKUP=str(compose.backup), FORCE="1")
    assert restored.returncode == 0, restored.stderr
    # The first run needs longer to start.
    tables = [cluster.query(table) for table in TABLES]
    report = wait_for("the report", 60, lambda: page(f"{cluster.webserver.url}/reports/dbt_location/{MONTH}.html"))
    cluster.ready()
    yield Moved(cluster, compose, tables, report)
    for location in LOCATIONS:
        cluster.webserver.stop_sensors(location)


def test_the_cluster_has_the_tables_and_the_report_of_the_compose_stack(moved: Moved) -> None:
    assert moved.tables == moved.compose.tables
    assert moved.report == moved.compose.report


def test_the_cluster_has_the_run_history_of_the_compose_stack(moved: Moved) -> None:
    there = ended(moved.cluster.webserver.runs())
    assert [run for run in moved.compose.ended if run not in there] == []


def test_a_run_that_was_in_progress_is_launched_again(moved: Moved) -> None:
    retry = moved.cluster.retry_of(moved.compose.loading, 120)
    assert moved.cluster.webserver.ended_well(retry)


def test_a_run_that_waited_says_that_its_image_is_not_here_and_can_be_launched_again(moved: Moved) -> None:
    webserver = moved.cluster.webserver
    waited = webserver.finished(moved.compose.queued)
    messages = [event.get("message") or "" for event in waited["eventConnection"]["events"]]
    assert waited["status"] == "FAILURE"
    assert any("was not deployed for ingestion_location" in message for message in messages), messages
    assert any("Launch it again in the UI" in message for message in messages), messages
    assert webserver.ended_well(webserver.reexecute(moved.compose.queued))


def test_the_sensors_continue_with_the_next_month(moved: Moved) -> None:
    webserver = moved.cluster.webserver
    wait_for("ninety days", 300, lambda: webserver.materialized_partitions("daily_metrics") == 90 or None)
    moved.cluster.check_tables()
