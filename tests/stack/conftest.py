"""The live compose stack: the real files, under a project name of its own, on the sample files."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from tests import warehouse_answers
from tests.independent import RightAnswers
from tests.rows import comparable
from tests.stack.backfill import Backfill, run_all
from tests.stack.webserver import Webserver

# Another name lets a second checkout test at the same time; the images are tagged with it.
PROJECT = os.environ.get("STACK_PROJECT", "dagster-taxi-test")
LABEL = f"label=com.docker.compose.project={PROJECT}"
# Services that end when their work is done, and run anew at every start.
ONE_SHOTS = ("migrate", "workspace")
NO_ENGINE = "there is no Docker engine (docker info fails), and the live stack needs one"


def engine_answers() -> bool:
    return (
        shutil.which("docker") is not None and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests of this folder where there is no engine; CI demands one with REQUIRE_DOCKER."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if here and not os.environ.get("REQUIRE_DOCKER") and not engine_answers():
        for item in here:
            item.add_marker(pytest.mark.skip(reason=NO_ENGINE))


class Stack:
    """The stack, driven by the commands that its users type."""

    def __init__(self) -> None:
        # Both open at once, so that they are two.
        with socket.socket() as one, socket.socket() as other:
            for free in (one, other):
                free.bind(("127.0.0.1", 0))
            self.port, self.reports_port = one.getsockname()[1], other.getsockname()[1]
        unset = {"TAXI_START_DATE", "TAXI_END_DATE", "TLC_TAXI_TYPE", "TAXI_SOURCE_INTERVAL_SECONDS", "REPORTS_URL"}
        unset |= {"REAP_INTERVAL_SECONDS", "REAP_SUCCEEDED_AFTER_SECONDS", "REAP_FAILED_AFTER_SECONDS", "HISTORY_DAYS"}
        unset |= {"NOTIFY_WEBHOOK_URL", "DAGSTER_URL"}
        self.env = {name: value for name, value in os.environ.items() if name not in unset}
        self.env |= {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "WEBSERVER_PORT": str(self.port),
            "REPORTS_PORT": str(self.reports_port),
            "TLC_BASE_URL": "http://sample:8000",
            # The tests launch runs and look at what came of them; test_unattended.py switches it on.
            "TAXI_AUTOMATION": "off",
            # The same goes for the containers of those runs; test_housekeeping.py switches it on.
            "HOUSEKEEPING": "off",
            "INGESTION_LOCATION_TAG": PROJECT,
            "DBT_LOCATION_TAG": PROJECT,
            "PLATFORM_LOCATION_TAG": PROJECT,
            "REPORTS_TAG": PROJECT,
            "PLATFORM_TAG": PROJECT,
        }
        self.webserver = Webserver(f"http://127.0.0.1:{self.port}")

    def command(self, *arguments: str) -> str:
        """Runs a command in the project's folder and returns what it prints; it must succeed."""
        ended = subprocess.run(arguments, cwd=ROOT, env=self.env, capture_output=True, text=True)
        assert ended.returncode == 0, f"{' '.join(arguments)}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def status(self, *arguments: str) -> tuple[bool, str]:
        """Whether `make status` finds that nothing needs a person, and what it prints."""
        command = ["make", "--no-print-directory", "status", *arguments]
        ended = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True)
        return ended.returncode == 0, ended.stdout

    def up(self) -> None:
        self.command("docker", "compose", "--profile", "sample", "up", "-d", "--build", "--wait")

    def destroy(self) -> None:
        """Removes the stack with all that it has.

        Engine 20.10 at times counts the endpoints of a network wrongly, after containers came and went side by side. It
        then keeps a network that nothing is attached to until it starts anew. Only that may be left; the next start of
        the stack takes it as it is.
        """
        ended = subprocess.run(["make", "destroy"], cwd=ROOT, env=self.env, capture_output=True, text=True)
        if ended.returncode == 0:
            return
        assert "has active endpoints" in ended.stderr, ended.stdout + ended.stderr
        for network in self.command("docker", "network", "ls", "--quiet", "--filter", LABEL).split():
            assert json.loads(self.command("docker", "network", "inspect", network))[0]["Containers"] == {}
        assert self.command("docker", "ps", "--all", "--quiet", "--filter", LABEL) == ""
        self.command("docker", "volume", "rm", "--force", f"{PROJECT}_deployments")

    @contextlib.contextmanager
    def source_silent(self) -> Iterator[None]:
        """The source takes connections and answers nothing, so that a load waits in the middle."""
        self.command("docker", "compose", "--profile", "sample", "pause", "sample")
        try:
            yield
        finally:
            self.command("docker", "compose", "--profile", "sample", "unpause", "sample")

    def kill(self, *but: str) -> None:
        """Kills every service but some, and every run: what a reboot leaves."""
        self.command("docker", "compose", "--profile", "sample", "kill", *(self.services().keys() - set(but)))
        runs = self.command("docker", "ps", "--quiet", "--filter", f"label=project={PROJECT}").split()
        if runs:
            self.command("docker", "kill", *runs)

    def report(self, name: str) -> tuple[int, str]:
        """Asks the file server of the reports for a file, and returns the status of its answer and the text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.reports_port}/{name}", timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def right_answers(self, folder: Path, *months: str) -> RightAnswers:
        """What is right for the files that the sample's server has now, copied to a folder."""
        self.command("docker", "compose", "--profile", "sample", "cp", "sample:/opt/sample/files/.", str(folder))
        return RightAnswers(folder, "yellow", months)

    def check_days(self, right: RightAnswers) -> None:
        """The months and all that is built day by day hold what an independent computation says."""
        assert self.query(warehouse_answers.MONTHS) == comparable(right.months())
        assert self.query(warehouse_answers.DAILY_METRICS) == comparable(right.daily_metrics())
        assert self.query(warehouse_answers.LOCATION_METRICS) == comparable(right.location_metrics())
        assert self.query(warehouse_answers.MANHATTAN_STATS) == comparable(right.manhattan_stats())

    def check_months(self, right: RightAnswers) -> None:
        """So does all that is built month by month."""
        assert self.query(warehouse_answers.ZONE_MAP) == comparable(right.zone_map())
        assert self.query(warehouse_answers.BOROUGH_FLOWS) == comparable(right.borough_flows())
        assert self.query(warehouse_answers.MONTHLY_REPORT) == comparable(right.monthly_report())

    def keep_logs(self, name: str) -> None:
        """Writes what all services printed to a file in .demo, for whoever looks into a failure."""
        logs = ROOT / ".demo" / name
        logs.parent.mkdir(exist_ok=True)
        logs.write_text(self.command("docker", "compose", "--profile", "sample", "logs", "--no-color"))

    def services(self) -> dict[str, dict[str, Any]]:
        """Per service, its container as `docker compose ps` describes it."""
        lines = self.command("docker", "compose", "--profile", "sample", "ps", "--all", "--format", "json").splitlines()
        return {service["Service"]: service for service in map(json.loads, lines)}

    def inspect(self, *containers: str) -> list[dict[str, Any]]:
        inspected: list[dict[str, Any]] = json.loads(self.command("docker", "inspect", *containers))
        return inspected

    def run_container(self, run_id: str) -> dict[str, Any]:
        """The container that a run ran in."""
        found = self.command("docker", "ps", "--all", "--quiet", "--filter", f"label=dagster/run_id={run_id}").split()
        (container,) = self.inspect(*found)
        return container

    def query(self, statement: str) -> list[list[Any]]:
        """Asks the warehouse as its superuser, through the socket in Postgres's own container."""
        as_json = f"select coalesce(json_agg(row), '[]') from ({statement}) as row"
        answer = self.command(
            *("docker", "compose", "exec", "-T", "postgres"),
            *("psql", "-U", "postgres", "-d", "warehouse", "-v", "ON_ERROR_STOP=1", "-qtAc", as_json),
        )
        return [list(row.values()) for row in json.loads(answer)]


@pytest.fixture(scope="session")
def project() -> Iterator[Stack]:
    """The stack for tests that start it themselves; whatever runs in the end is removed."""
    stack = Stack()
    try:
        yield stack
    finally:
        stack.destroy()


@pytest.fixture(scope="session")
def stack(project: Stack) -> Stack:
    """The running stack."""
    project.up()
    return project


@pytest.fixture(scope="session")
def backfill(stack: Stack) -> Backfill:
    """A stack that had nothing, with three months, ninety days and the metrics, built as much at once as can be.

    The drills that want a full stack share it; those that start it anew have names that come later.
    """
    if stack.webserver.run_count():
        stack.destroy()
        stack.up()
    return run_all(stack)
