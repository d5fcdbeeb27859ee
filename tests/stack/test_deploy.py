"""`make deploy` on the live compose stack: one location is replaced, all else goes on, what does not work goes back.

The tests build on one another, in this order. They begin with an empty stack without automation.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from ops.contract.describe import __file__ as describe_script
from ops.contract.served import ENTRIES, describe_served
from ops.deploy.records import Record, attempts, from_lines
from ops.locations import DATA_LOCATIONS
from tests.stack.conftest import ONE_SHOTS, PROJECT, Stack
from tests.stack.webserver import FINISHED, wait_for

pytestmark = pytest.mark.drill

INGESTION, DBT = "ingestion_location", "dbt_location"
DAILY_ASSETS = ["daily_metrics", "location_metrics", "manhattan_stats", "stg_trips"]
MONTHLY_ASSETS = ["borough_flows", "monthly_report", "zone_map"]
TAGS = {INGESTION: "INGESTION_LOCATION_TAG", DBT: "DBT_LOCATION_TAG"}

IN_ITS_PLACE = """
echo 'if Path("/run/credentials/pgpass").exists(): {}' >> src/dbt_location/settings.py
""".strip()
# Each is one layer on the image of the stack.
VARIANTS = {
    "no-import": (INGESTION, "echo 'import no_such_module' >> src/ingestion_location/definitions.py"),
    "less": (
        INGESTION,
        "sed -i 's/for column in COLUMNS]/for column in COLUMNS if column.name != \"total_amount\"]/'"
        " src/ingestion_location/trips.py",
    ),
    "more": (
        INGESTION,
        'sed -i \'s/for column in COLUMNS]/for column in COLUMNS] + [dg.TableColumn("surge", "smallint")]/\''
        " src/ingestion_location/trips.py",
    ),
    "needs-more": (
        DBT,
        "sed -i '0,/          - name: vendor_id/s//          - name: surge\\n            description: More."
        "\\n            data_type: smallint\\n&/' analytics/models/staging/_sources.yml"
        " && dbt --quiet parse --project-dir analytics --profiles-dir analytics",
    ),
    # The manifest of the image is older than this file, so dbt is asked to parse it.
    "broken-project": (DBT, "echo 'select from {{ ref(' > analytics/models/marts/broken.sql"),
    # All is well until it sees the passwords, which a trial does not have.
    "no-start": (DBT, IN_ITS_PLACE.format('raise SystemExit("no such luck")')),
    "hangs": (DBT, IN_ITS_PLACE.format('__import__("time").sleep(3600)')),
}


class Deploys:
    """The commands of a deploy, on a stack whose tags are in an env file."""

    def __init__(self, stack: Stack, env_file: Path) -> None:
        self.stack, self.env_file = stack, env_file
        self.built: list[str] = []

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--no-print-directory", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.stack.env, capture_output=True, text=True)

    def deploy(self, location: str, tag: str = "") -> str:
        """Deploys; it must succeed."""
        return self._good("deploy", f"LOCATION={location}", *([f"TAG={tag}"] if tag else []))

    def rollback(self, location: str) -> str:
        return self._good("rollback", f"LOCATION={location}")

    def _good(self, *arguments: str) -> str:
        ended = self.make(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def not_deployed(self, location: str, tag: str) -> str:
        """Tries to deploy, which must fail, and returns what it says about it."""
        ended = self.make("deploy", f"LOCATION={location}", f"TAG={tag}")
        assert ended.returncode != 0, ended.stdout
        assert "Traceback" not in ended.stderr.splitlines()[0]
        return ended.stderr

    def variant(self, name: str) -> str:
        """Makes an image with one thing changed, and returns its tag."""
        location, script = VARIANTS[name]
        return self.image(location, name, f"RUN {script}")

    def image(self, location: str, name: str, *instructions: str) -> str:
        tag = f"{PROJECT}-{name}"
        dockerfile = "\n".join([f"FROM {location}:{PROJECT}", "USER root", *instructions, "USER dagster"])
        build = ["docker", "build", "--quiet", "--tag", f"{location}:{tag}", "-"]
        subprocess.run(build, input=dockerfile, check=True, capture_output=True, text=True, env=self.stack.env)
        self.built.append(f"{location}:{tag}")
        return tag

    def history(self, location: str) -> list[Record]:
        volume = f"{PROJECT}_deployments:/deployments:ro"
        show = (
            "docker",
            "run",
            "--rm",
            "--volume",
            volume,
            f"{DBT}:{PROJECT}",
            "cat",
            f"/deployments/{location}.jsonl",
        )
        return attempts(from_lines(self.stack.command(*show)))

    def tag_in_use(self, location: str) -> str:
        settings = dict(line.split("=", 1) for line in self.env_file.read_text().splitlines())
        return settings[TAGS[location]]

    def containers(self) -> dict[str, str]:
        """Per service that goes on, the id of its container."""
        return {name: service["ID"] for name, service in self.stack.services().items() if name not in ONE_SHOTS}

    def served(self) -> str:
        """All that the webserver serves of both locations, as text that is the same where that is the same."""
        return json.dumps(self.stack.webserver.ask(ENTRIES), sort_keys=True, indent=1)


@pytest.fixture(scope="module")
def deploys(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploys]:
    """A stack with the zones in it, and commands that leave the settings of this clone alone."""
    if stack.webserver.run_count():
        stack.destroy()
        stack.up()
    before = dict(stack.env)
    env_file = tmp_path_factory.mktemp("settings") / "settings.env"
    env_file.write_text("".join(f"{name}={stack.env.pop(name)}\n" for name in TAGS.values()))
    stack.env |= {"COMPOSE_ENV_FILES": str(env_file), "DEPLOYED_BY": "the drill"}
    deploys = Deploys(stack, env_file)
    try:
        assert stack.webserver.finished(stack.webserver.launch(INGESTION, ["taxi_zones"]))["status"] == "SUCCESS"
        yield deploys
    finally:
        stack.keep_logs("deploy.log")
        stack.destroy()
        stack.env = before
        subprocess.run(["docker", "image", "rm", *deploys.built], capture_output=True)  # some are gone already


class Watch:
    """Asks both code servers all the time, through the webserver, and notes how long one does not answer.

    A question may also wait for the new server and be answered then, so what counts is the time between two answers.
    """

    def __init__(self, stack: Stack) -> None:
        self._webserver = stack.webserver
        self._over = threading.Event()
        self.failed = dict.fromkeys(DATA_LOCATIONS, 0)
        self.seconds_away = dict.fromkeys(DATA_LOCATIONS, 0.0)
        self._threads = [threading.Thread(target=self._watch, args=(location,)) for location in DATA_LOCATIONS]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, location: str) -> None:
        asset = {INGESTION: "taxi_zones", DBT: "stg_zones"}[location]
        answered = time.monotonic()
        while not self._over.is_set():
            if self._answers(location, asset):
                now = time.monotonic()
                self.seconds_away[location] = max(self.seconds_away[location], now - answered)
                answered = now
            else:
                self.failed[location] += 1
        self.seconds_away[location] = max(self.seconds_away[location], time.monotonic() - answered)

    def _answers(self, location: str, asset: str) -> bool:
        # The plan of a run is made by the code server, for each question anew.
        pipeline = {
            "pipelineName": "__ASSET_JOB",
            "repositoryName": "__repository__",
            "repositoryLocationName": location,
            "assetSelection": [{"path": [asset]}],
        }
        question = """
            query ($pipeline: PipelineSelector!) {
              executionPlanOrError(pipeline: $pipeline, mode: "default") { __typename } }
        """
        with contextlib.suppress(AssertionError, OSError):
            plan = self._webserver.ask(question, pipeline=pipeline)["executionPlanOrError"]
            return bool(plan["__typename"] == "ExecutionPlan")
        return False


HOLD = """
set application_name = 'holder'; begin; lock table raw_taxis.zones;
select pg_advisory_xact_lock(hashtextextended('raw_taxis tables', 0)), pg_sleep(3600)
"""


@contextlib.contextmanager
def held(stack: Stack) -> Iterator[None]:
    """Someone holds locks that a first load and a build of the zones need: both wait in the middle."""
    psql = ("docker", "compose", "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "warehouse", "-qtAc")
    with subprocess.Popen([*psql, HOLD], cwd=ROOT, env=stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        granted = "select 1 as held from pg_locks where locktype = 'advisory' and granted and objsubid = 1"
        wait_for("the locks", 60, lambda: stack.query(granted) or None)
        try:
            yield
        finally:
            end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'holder'"
            stack.command(*psql, end)


@pytest.fixture
def skewed(deploys: Deploys, tmp_path: Path) -> str:
    """The tag of ingestion_location with another Python minor, another Dagster and another pyarrow."""
    tag, base, folder = f"{PROJECT}-skewed", f"{PROJECT}-python", tmp_path / INGESTION
    shutil.copytree(ROOT / INGESTION, folder, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    shutil.copy(ROOT / "tests/stack/skew/requirements.lock", folder / "requirements.lock")
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("FROM python:3.13-slim", f"FROM {base}"))
    for image, context, *options in (
        (base, Path(__file__).with_name("skew")),
        (f"{INGESTION}:{tag}", folder),
        (f"{INGESTION}:{tag}-test", folder, "--target", "test"),
    ):
        deploys.stack.command("docker", "build", *options, "--tag", image, str(context))
        deploys.built.append(image)
    return tag


VERSIONS = """
import json, sys
from importlib.metadata import distributions
has = {each.name: each.version for each in distributions()}
print(json.dumps({"python": sys.version_info[:2], "dagster": has["dagster"], "pyarrow": has.get("pyarrow")}))
"""


def versions_in(stack: Stack, service: str) -> dict[str, Any]:
    """The releases of Python, Dagster and pyarrow in a service's container."""
    told: dict[str, Any] = json.loads(
        stack.command("docker", "compose", "exec", "-T", service, "python", "-c", VERSIONS)
    )
    return told


def image_of_run(stack: Stack, run_id: str) -> str:
    return str(stack.run_container(run_id)["Config"]["Image"])


def test_what_is_served_is_described_as_in_the_image(deploys: Deploys) -> None:
    entries = deploys.stack.webserver.ask(ENTRIES)["workspaceOrError"]["locationEntries"]
    served = describe_served({entry["name"]: entry for entry in entries})
    script = Path(describe_script).read_text()
    for location in DATA_LOCATIONS:
        command = ["docker", "compose", "exec", "-T", location, "python", "-", location]
        described = subprocess.run(
            command, cwd=ROOT, env=deploys.stack.env, input=script, capture_output=True, text=True
        )
        assert [asset for asset in served if asset["location"] == location] == json.loads(described.stdout)


def test_both_locations_are_deployed_while_runs_of_both_go_on_and_nothing_is_lost_or_done_twice(
    deploys: Deploys,
) -> None:
    stack, webserver = deploys.stack, deploys.stack.webserver
    before = deploys.containers()
    with held(stack):
        load = webserver.launch_month("2023-01-01")
        build = webserver.launch(DBT, ["stg_zones"])
        for run in (load, build):
            webserver.started(run, 180)
        # The pool has one place, so this one waits in the queue.
        queued = webserver.launch(DBT, ["stg_zones"])
        webserver.start_sensor(DBT, "automatic_builds")
        away = {}
        for location in DATA_LOCATIONS:
            with Watch(stack) as watch:
                deploys.deploy(location)
            (other,) = set(DATA_LOCATIONS) - {location}
            assert watch.failed[other] == 0
            away[location] = round(watch.seconds_away[location], 1)
        assert [webserver.run(run)["status"] for run in (load, build, queued)] == ["STARTED", "STARTED", "QUEUED"]
    (ROOT / ".demo").mkdir(exist_ok=True)
    (ROOT / ".demo/deploy.json").write_text(json.dumps({"seconds_away": away}))
    print(f"Seconds in which a location did not answer while it was deployed: {away}")

    assert [webserver.finished(run, 300)["status"] for run in (load, build, queued)] == ["SUCCESS"] * 3
    old = [f"{INGESTION}:{PROJECT}", f"{DBT}:{PROJECT}", f"{DBT}:{PROJECT}"]
    assert [image_of_run(stack, run) for run in (load, build, queued)] == old

    def automatic() -> list[dict[str, Any]] | None:
        runs = [run for run in webserver.runs() if {*run["assets"]} <= {*DAILY_ASSETS, *MONTHLY_ASSETS}]
        done = any(run["assets"] == MONTHLY_ASSETS for run in runs) and all(run["status"] in FINISHED for run in runs)
        return runs if done else None

    # What needs the zones' model is built a tick later than the rest, where that model came later.
    runs = wait_for("the builds of January", 300, automatic)
    assert {run["status"] for run in runs} == {"SUCCESS"}
    assert sorted(asset for run in runs for asset in run["assets"]) == sorted([*DAILY_ASSETS, *MONTHLY_ASSETS])
    assert {image_of_run(stack, run["runId"]) for run in runs} == {f"{DBT}:{deploys.tag_in_use(DBT)}"}
    after = deploys.containers()
    assert {service for service in before if before[service] != after[service]} == set(DATA_LOCATIONS)
    # The zones, the three above, and those: nothing was asked for twice.
    wait_for_a_tick(deploys)
    assert webserver.run_count() == 4 + len(runs)


def wait_for_a_tick(deploys: Deploys) -> None:
    """Waits until the automation has looked once more."""
    ticks = deploys.stack.webserver.ticks
    before = ticks(DBT, "automatic_builds")[0]["tickId"]
    wait_for("a tick", 120, lambda: ticks(DBT, "automatic_builds")[0]["tickId"] != before or None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-import", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("less", "taxi_trips: dbt_location needs the column total_amount, and ingestion_location has no such column."),
        ("needs-more", "taxi_trips: dbt_location needs the column surge, and ingestion_location has no such column."),
        ("broken-project", "broken.sql"),
    ],
)
def test_an_image_that_is_no_good_is_refused_before_anything_is_touched(deploys: Deploys, name: str, said: str) -> None:
    before = deploys.served(), deploys.containers(), deploys.env_file.read_text()
    refusal = deploys.not_deployed(VARIANTS[name][0], deploys.variant(name))
    assert said in refusal
    assert "refused; nothing was touched" in refusal
    assert (deploys.served(), deploys.containers(), deploys.env_file.read_text()) == before


def test_an_image_whose_server_never_gets_healthy_is_refused(deploys: Deploys, monkeypatch: pytest.MonkeyPatch) -> None:
    before = deploys.served(), deploys.containers()
    tag = deploys.image(DBT, "silent", 'CMD ["sleep", "600"]')
    monkeypatch.setitem(deploys.stack.env, "DEPLOY_START_SECONDS", "5")
    assert "The code server was not healthy within DEPLOY_START_SECONDS=5" in deploys.not_deployed(DBT, tag)
    assert (deploys.served(), deploys.containers()) == before


def test_a_version_that_starts_on_trial_and_not_in_its_place_is_put_back(deploys: Deploys) -> None:
    before = deploys.served(), deploys.env_file.read_text()
    containers = deploys.containers()
    said = deploys.not_deployed(DBT, deploys.variant("no-start"))
    assert "no such luck" in said
    assert f"not deployed; {DBT}:{deploys.tag_in_use(DBT)} runs again" in said
    assert (deploys.served(), deploys.env_file.read_text()) == before
    assert [record.result for record in deploys.history(DBT)][-1] == "restored"
    after = deploys.containers()
    assert {service for service in after if after[service] != containers[service]} == {DBT}


def test_a_column_is_rolled_out_producer_first(deploys: Deploys) -> None:
    deploys.deploy(INGESTION, deploys.variant("more"))
    deploys.deploy(DBT, deploys.variant("needs-more"))
    ended = deploys.make("rollback", f"LOCATION={INGESTION}")
    assert ended.returncode != 0
    assert "dbt_location needs the column surge, and ingestion_location has no such column" in ended.stderr


def test_what_is_forced_is_in_the_history(deploys: Deploys) -> None:
    ended = deploys.make("rollback", f"LOCATION={INGESTION}", "FORCE=1")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert deploys.history(INGESTION)[-1].reason.startswith("forced: taxi_trips: dbt_location needs the column surge")


def test_a_rollback_goes_back_step_by_step_to_what_was_there_before_the_first_deploy(deploys: Deploys) -> None:
    deploys.rollback(DBT)
    assert deploys.tag_in_use(DBT) == deploys.history(DBT)[0].version.tag
    deploys.rollback(DBT)
    assert deploys.tag_in_use(DBT) == PROJECT
    ended = deploys.make("rollback", f"LOCATION={DBT}")
    assert (ended.returncode, "there is no good version before the one that runs" in ended.stderr) == (2, True)


def test_a_location_on_another_python_dagster_and_pyarrow_works_with_the_rest(
    deploys: Deploys, skewed: str, tmp_path: Path
) -> None:
    stack = deploys.stack
    versions = {service: versions_in(stack, service) for service in (INGESTION, DBT, "webserver", "daemon")}
    assert "its own tests were not run" not in deploys.deploy(INGESTION, skewed)
    before, versions = versions[INGESTION], {service: versions_in(stack, service) for service in versions}
    skew = versions.pop(INGESTION)
    assert skew["pyarrow"] != before["pyarrow"]
    assert all(skew["python"] != other["python"] and skew["dagster"] != other["dagster"] for other in versions.values())
    load = stack.webserver.launch_month("2023-02-01")
    assert stack.webserver.finished(load)["status"] == "SUCCESS"
    assert image_of_run(stack, load) == f"{INGESTION}:{skewed}"
    built = {**dict.fromkeys(DAILY_ASSETS, 59), **dict.fromkeys(MONTHLY_ASSETS, 2)}

    def is_built() -> bool | None:
        return {asset: stack.webserver.materialized_partitions(asset) for asset in built} == built or None

    wait_for("the builds of February", 300, is_built)
    right = stack.right_answers(tmp_path, "2023-01", "2023-02")
    stack.check_days(right)
    stack.check_months(right)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_deploy_that_is_ended_while_it_replaces_is_put_right(deploys: Deploys, number: signal.Signals) -> None:
    stack = deploys.stack
    before = deploys.served(), deploys.env_file.read_text()
    command = ["make", "--no-print-directory", "deploy", f"LOCATION={DBT}", f"TAG={deploys.variant('hangs')}"]
    with subprocess.Popen(
        command, cwd=ROOT, env=stack.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    ) as deploy:
        assert deploy.stdout
        for line in deploy.stdout:
            if "replacing the code server" in line:
                break
        refused = deploys.make("deploy", f"LOCATION={DBT}", f"TAG={PROJECT}")
        os.killpg(deploy.pid, number)
        deploy.stdout.read()
    assert refused.returncode != 0
    assert f"{DBT} is being deployed by the drill since" in refused.stderr
    if number == signal.SIGKILL:
        # A power cut, as it were: nobody put anything right.
        deploys.rollback(DBT)
    assert (deploys.served(), deploys.env_file.read_text()) == before


def test_make_up_keeps_what_was_deployed(deploys: Deploys) -> None:
    before = deploys.served(), deploys.containers()
    deploys.env_file.write_text("")
    deploys.stack.command("make", "up")
    assert (deploys.served(), deploys.containers()) == before


def test_what_was_refused_or_taken_back_leaves_no_image_behind(deploys: Deploys) -> None:
    tags = set(deploys.stack.command("docker", "image", "ls", "--format", "{{.Tag}}", DBT).split())
    assert tags & {f"{PROJECT}-{name}" for name in ("broken-project", "silent", "no-start")} == set()


def test_the_history_says_what_was_deployed_by_whom_and_what_came_of_it(deploys: Deploys) -> None:
    results = [line.split()[-1] for line in deploys.make("deployments", f"LOCATION={INGESTION}").stdout.splitlines()]
    assert "deployed" in results
    assert {record.by for record in deploys.history(INGESTION)} == {"the drill"}
    assert [record.result for record in deploys.history(INGESTION)] == [
        "deployed",
        "refused",
        "refused",
        "deployed",
        "refused",
        "deployed",
        "deployed",
    ]
