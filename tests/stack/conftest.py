"""The live compose stack: the real files, under a project name of its own, on the sample files.

A test states what it needs by its fixtures. A fixture starts the stack with its module's settings and adds what is
missing, so every test runs alone, and in any order.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ops.command import ROOT
from ops.locations import LOCATIONS, policy_service, tag_variable
from tests import warehouse_answers
from tests.independent import RightAnswers
from tests.rows import comparable
from tests.stack.backfill import MONTHS, Backfill, run_all
from tests.stack.webserver import Webserver, wait_for

T = TypeVar("T")
# A second checkout, or a second stack beside this one, needs another name. The images are tagged with it.
PROJECT = os.environ.get("STACK_PROJECT", "dagster-taxi-test")
# The tag of images that are built already, for stacks that start side by side; `make test-images` builds them.
IMAGES = os.environ.get("STACK_IMAGES")
LABEL = f"label=com.docker.compose.project={PROJECT}"
# Services that end when their work is done, and run again at every start.
ONE_SHOTS = ("migrate", "workspace", *map(policy_service, LOCATIONS))
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
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # Secrets are in the backups only if there is a key.
        settings = ROOT / ".demo" / f"{PROJECT}-backup_settings"
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "key").write_text("the key of these backups\n")
        unset = {"TAXI_START_DATE", "TAXI_END_DATE", "TLC_TAXI_TYPE", "TAXI_SOURCE_INTERVAL_SECONDS", "REPORTS_URL"}
        unset |= {"REAP_INTERVAL_SECONDS", "REAP_SUCCEEDED_AFTER_SECONDS", "REAP_FAILED_AFTER_SECONDS", "HISTORY_DAYS"}
        unset |= {"NOTIFY_WEBHOOK_URL", "DAGSTER_URL", "PUBLIC_URL", "PUBLISH", "HTTPS_PORT", "ACCESS_DIR"}
        self._settings = {name: value for name, value in os.environ.items() if name not in unset} | {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "WEBSERVER_PORT": str(self.port),
            "TLC_BASE_URL": "http://sample:8000",
            # The tests launch runs and look at the results; test_automation.py switches this on.
            "TAXI_AUTOMATION": "off",
            # Likewise for the containers of those runs; test_housekeeping.py switches this on.
            "HOUSEKEEPING": "off",
            # A busy machine needs long to start a code server.
            "DEPLOY_START_SECONDS": "360",
            **{tag_variable(location): PROJECT for location in LOCATIONS},
            "REPORTS_TAG": PROJECT,
            "PLATFORM_TAG": PROJECT,
            "POSTGRES_VOLUME": "postgres_data",
            "BACKUP_SETTINGS_DIR": str(settings),
        }
        self.env = dict(self._settings)
        self.webserver = Webserver(f"http://127.0.0.1:{self.port}")
        self._running: dict[str, str] | None = None
        self._has_images = False
        self._done: dict[str, Any] = {}

    def command(self, *arguments: str, **settings: str) -> str:
        """Runs a command in the project's folder and returns its output; the command must succeed."""
        ended = subprocess.run(arguments, cwd=ROOT, env=self.env | settings, capture_output=True, text=True)
        assert ended.returncode == 0, f"{' '.join(arguments)}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def give_secret(self, location: str, name: str, value: str) -> None:
        """Stores a secret of a location, as a script would."""
        command = ["make", "secret", f"LOCATION={location}", f"NAME={name}"]
        ended = subprocess.run(command, cwd=ROOT, env=self.env, input=value, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr

    def status(self, *arguments: str) -> tuple[bool, str]:
        """Whether `make status` finds that nothing needs a person, and what it prints."""
        command = ["make", "--no-print-directory", "status", *arguments]
        ended = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True)
        return ended.returncode == 0, ended.stdout

    def start(self, overlay: str = "", **settings: str) -> "Stack":
        """Starts the stack with these settings, and a compose file of this folder laid over it, unless it runs so."""
        if overlay:
            settings["COMPOSE_FILE"] = f"docker-compose.yml:tests/stack/{overlay}"
        if self._running != self._settings | settings:
            self.env = self._settings | settings
            self.up()
        return self

    def start_empty(self, overlay: str = "", **settings: str) -> "Stack":
        """Starts the stack without data and history, unless it was started so and not removed since."""

        def start() -> bool:
            self.destroy()
            self.start(overlay, **settings)
            return True

        self.once("started empty", start)
        return self.start(overlay, **settings)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """Does something to the stack for the first test that needs it, and again only after the stack was removed."""
        if what not in self._done:
            done = make()
            self._done[what] = done
        found: T = self._done[what]
        return found

    def forget(self, what: str) -> None:
        """Makes the next test that needs it do something again."""
        self._done.pop(what, None)

    def up(self) -> None:
        if not self._has_images:
            self._make_images()
        self.command("docker", "compose", "--profile", "sample", "up", "-d", "--wait")
        self._running = dict(self.env)

    def build(self) -> None:
        """Builds the images, tagged with the stack's name."""
        self.command("docker", "compose", "--profile", "sample", "build", **self._settings)
        self._has_images = True

    def _make_images(self) -> None:
        """Builds the images, or tags those that are built. Every stack has tags of its own, which it may move."""
        if IMAGES:
            config = ("docker", "compose", "--profile", "sample", "config", "--images")
            for image in self.command(*config, **self._settings).split():
                name, _, tag = image.rpartition(":")
                if tag == PROJECT:
                    self.command("docker", "image", "tag", f"{name}:{IMAGES}", image)
            self._has_images = True
        else:
            self.build()

    def down(self) -> None:
        self._running = None
        self.command("make", "down")

    def destroy(self) -> None:
        """Removes the stack with its data and history.

        Engine 20.10 sometimes miscounts the endpoints of a network after containers came and went side by side. It then
        keeps a network without endpoints until the engine restarts. Only such a network may be left; the next start of
        the stack uses it.
        """
        if self._running:
            self._keep_logs()
        self._running = None
        self._done.clear()
        ended = subprocess.run(["make", "destroy"], cwd=ROOT, env=self.env, capture_output=True, text=True)
        if ended.returncode == 0:
            return
        assert "has active endpoints" in ended.stderr, ended.stdout + ended.stderr
        for network in self.command("docker", "network", "ls", "--quiet", "--filter", LABEL).split():
            assert json.loads(self.command("docker", "network", "inspect", network))[0]["Containers"] == {}
        assert self.command("docker", "ps", "--all", "--quiet", "--filter", LABEL) == ""
        self.command("docker", "volume", "rm", "--force", f"{PROJECT}_deployments")

    def _keep_logs(self) -> None:
        """Appends what all services printed to a file in .demo, for whoever looks into a failure."""
        logs = self.command("docker", "compose", "--profile", "sample", "logs", "--no-color")
        (ROOT / ".demo").mkdir(exist_ok=True)
        with (ROOT / ".demo" / f"{PROJECT}.log").open("a") as file:
            file.write(logs)

    @contextlib.contextmanager
    def source_silent(self) -> Iterator[None]:
        """The source accepts connections and does not answer, so that a load waits in the middle."""
        with self.paused("sample"):
            yield

    @contextlib.contextmanager
    def paused(self, service: str) -> Iterator[None]:
        """Freezes all processes of a service."""
        compose = ("docker", "compose", "--profile", "sample")

        def pause() -> bool | None:
            # The kernel gives up where processes of the container start all the time, as on a busy machine.
            return subprocess.run((*compose, "pause", service), cwd=ROOT, env=self.env).returncode == 0 or None

        wait_for(f"{service} to be paused", 60, pause)
        try:
            yield
        finally:
            self.command(*compose, "unpause", service)

    def kill(self, *but: str) -> None:
        """Kills every run and every service except some, as a reboot does."""
        self.command("docker", "compose", "--profile", "sample", "kill", *(self.services().keys() - set(but)))
        runs = self.command("docker", "ps", "--quiet", "--filter", f"label=project={PROJECT}").split()
        if runs:
            self.command("docker", "kill", *runs)

    def report(self, name: str) -> tuple[int, str]:
        """Fetches a page of the reports through the door; returns the HTTP status and the text."""
        try:
            with urllib.request.urlopen(f"{self.webserver.url}/reports/dbt_location/{name}", timeout=180) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def right_answers(self, folder: Path, *months: str) -> RightAnswers:
        """The right answers for the files that the sample's server has now; the files are copied to a folder."""
        folder.mkdir(exist_ok=True)
        self.command("docker", "compose", "--profile", "sample", "cp", "sample:/opt/sample/files/.", str(folder))
        return RightAnswers(folder, "yellow", months)

    def check_days(self, right: RightAnswers) -> None:
        """Compares the months and all daily tables with an independent computation."""
        assert self.query(warehouse_answers.MONTHS) == comparable(right.months())
        assert self.query(warehouse_answers.DAILY_METRICS) == comparable(right.daily_metrics())
        assert self.query(warehouse_answers.LOCATION_METRICS) == comparable(right.location_metrics())
        assert self.query(warehouse_answers.MANHATTAN_STATS) == comparable(right.manhattan_stats())

    def check_months(self, right: RightAnswers) -> None:
        """Compares all monthly tables with an independent computation."""
        assert self.query(warehouse_answers.ZONE_PICKUPS) == comparable(right.zone_pickups())
        assert self.query(warehouse_answers.BOROUGH_FLOWS) == comparable(right.borough_flows())
        assert self.query(warehouse_answers.MONTHLY_TOTALS) == comparable(right.monthly_totals())

    def services(self) -> dict[str, dict[str, Any]]:
        """Each service's container as `docker compose ps` describes it."""
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

    def query(self, statement: str, database: str = "warehouse") -> list[list[Any]]:
        """Queries a database as superuser, through the socket in Postgres's own container."""
        as_json = f"select coalesce(json_agg(row), '[]') from ({statement}) as row"
        answer = self.command(
            # Without compose, which reads all its files first: many tests poll this.
            *("docker", "exec", f"{PROJECT}-postgres-1"),
            *("psql", "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1", "-qtAc", as_json),
        )
        return [list(row.values()) for row in json.loads(answer)]


@pytest.fixture(scope="session")
def project() -> Iterator[Stack]:
    """The stack for tests that start it with settings of their own; it is removed at the end."""
    stack = Stack()
    try:
        yield stack
    finally:
        stack.destroy()


@pytest.fixture
def stack(project: Stack) -> Stack:
    """The running stack."""
    return project.start()


@pytest.fixture
def backfill(stack: Stack) -> Backfill:
    """What was observed while three months, their days and their metrics were built, as much at once as possible."""
    return stack.once("backfill", lambda: run_all(stack))


@pytest.fixture
def right(project: Stack, tmp_path_factory: pytest.TempPathFactory) -> RightAnswers:
    """The right answers for the first three months, for a stack that runs."""
    return project.once("right answers", lambda: project.right_answers(tmp_path_factory.mktemp("sample"), *MONTHS))
