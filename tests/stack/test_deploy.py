"""`make deploy` on the live compose stack: nobody notices it, and what does not work is not deployed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ops.command import ROOT
from ops.contract.describe import __file__ as describe_script
from ops.contract.served import ENTRIES, describe_served
from ops.deploy.records import Record, attempts, from_lines
from ops.locations import DATA_LOCATIONS
from tests.stack.attacker import run_policy
from tests.stack.backfill import DAILY_ASSETS, MONTHLY_ASSETS
from tests.stack.conftest import ONE_SHOTS, PROJECT, Stack
from tests.stack.webserver import FINISHED, wait_for

pytestmark = pytest.mark.drill
T = TypeVar("T")

INGESTION, DBT = "ingestion_location", "dbt_location"
TAGS = {INGESTION: "INGESTION_LOCATION_TAG", DBT: "DBT_LOCATION_TAG"}
ZONES = {INGESTION: "taxi_zones", DBT: "stg_zones"}

IN_ITS_PLACE = """
echo 'if Path("/run/credentials/pgpass").exists(): {}' >> src/dbt_location/settings.py
""".strip()
# Each is one layer on top of the stack's image.
VARIANTS = {
    "no-import": (INGESTION, "echo 'import no_such_module' >> src/ingestion_location/definitions.py"),
    "less": (
        INGESTION,
        "sed -i 's/for column in COLUMNS]/for column in COLUMNS if column.name != \"total_amount\"]/'"
        " src/ingestion_location/defs/trips/taxi_trips.py",
    ),
    "more": (
        INGESTION,
        'sed -i \'s/for column in COLUMNS]/for column in COLUMNS] + [dg.TableColumn("surge", "smallint")]/\''
        " src/ingestion_location/defs/trips/taxi_trips.py",
    ),
    "needs-more": (
        DBT,
        "sed -i '0,/          - {name: vendor_id/s//"
        "          - {name: surge, data_type: smallint, description: More.}\\n&/' analytics/models/staging/_sources.yml"
        " && dbt --quiet parse --project-dir analytics --profiles-dir analytics",
    ),
    # The manifest of the image is older than this file, so dbt is asked to parse it.
    "broken-project": (DBT, "echo 'select from {{ ref(' > analytics/models/marts/broken.sql"),
    # These work until they see the passwords, which a trial does not have.
    "no-start": (DBT, IN_ITS_PLACE.format('raise SystemExit("no such luck")')),
    "hangs": (DBT, IN_ITS_PLACE.format('__import__("time").sleep(3600)')),
}


def in_order(value: Any) -> Any:
    """An answer with its lists in one order: each start of a code server names dependencies in another one."""
    if isinstance(value, dict):
        return {name: in_order(part) for name, part in value.items()}
    if isinstance(value, list):
        return sorted(map(in_order, value), key=lambda part: json.dumps(part, sort_keys=True))
    return value


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
        """Tries to deploy, which must fail, and returns the error."""
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
        show = f"cat /deployments/{location}.jsonl 2>/dev/null || true"
        run = ("docker", "run", "--rm", "--volume", volume, f"{DBT}:{PROJECT}", "sh", "-c", show)
        return attempts(from_lines(self.stack.command(*run)))

    def tag_in_use(self, location: str) -> str:
        settings = dict(line.split("=", 1) for line in self.env_file.read_text().splitlines())
        return settings[TAGS[location]]

    def containers(self) -> dict[str, str]:
        """For each service that keeps running, the id of its container."""
        return {name: service["ID"] for name, service in self.stack.services().items() if name not in ONE_SHOTS}

    def code_servers(self, location: str, *options: str) -> list[str]:
        """The ids of the containers of a location's code server, of all without other options."""
        return self.stack.command("docker", "compose", "ps", *(options or ("--all",)), "--quiet", location).split()

    def served(self) -> str:
        """Everything that the webserver serves of both locations, as comparable text."""
        return json.dumps(in_order(self.stack.webserver.ask(ENTRIES)), sort_keys=True, indent=1)


@pytest.fixture(scope="module")
def deploys(project: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploys]:
    """An empty stack with the zones loaded, and commands that leave the settings of this clone alone."""
    # Compose labels an image with the stack, so `make up` would replace the images that all stacks have in common.
    project.build()
    # Runs wait for locks while both locations are deployed, which takes minutes on a busy machine.
    project.start_empty(TAXI_LOCK_WAIT_SECONDS="600")
    before = dict(project.env)
    env_file = tmp_path_factory.mktemp("settings") / "settings.env"
    env_file.write_text("".join(f"{name}={project.env.pop(name)}\n" for name in TAGS.values()))
    project.env |= {"COMPOSE_ENV_FILES": str(env_file), "DEPLOYED_BY": "the drill"}
    deploys = Deploys(project, env_file)
    try:
        zones = project.webserver.launch(INGESTION, ["taxi_zones"])
        assert project.webserver.finished(zones)["status"] == "SUCCESS"
        yield deploys
    finally:
        project.destroy()
        project.env = before
        subprocess.run(["docker", "image", "rm", *deploys.built], capture_output=True)  # some are gone already


class Watch:
    """Asks both code servers ten times a second, through the webserver, and counts what is not answered."""

    def __init__(self, stack: Stack) -> None:
        self._webserver = stack.webserver
        self._over = threading.Event()
        self.failed = dict.fromkeys(DATA_LOCATIONS, 0)
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
        # Without a pause the questions would take the processors from the deploy.
        while not self._over.wait(0.1):
            if not self._webserver.code_server_answers(location, ZONES[location]):
                self.failed[location] += 1


HOLD = """
set application_name = 'holder'; begin; create table raw_taxis.trips_2023_01_new ();
lock table raw_taxis.zones; select pg_sleep(3600)
"""


@contextlib.contextmanager
def held(stack: Stack) -> Iterator[None]:
    """Holds locks that the load of January and a build of the zones need, so that both wait in the middle."""
    psql = ("docker", "compose", "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "warehouse", "-qtAc")
    with subprocess.Popen([*psql, HOLD], cwd=ROOT, env=stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        granted = "select 1 as held from pg_locks where relation = 'raw_taxis.zones'::regclass and granted"
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
    dockerfile.write_text(dockerfile.read_text().replace("PYTHON_IMAGE=python:3.13-slim", f"PYTHON_IMAGE={base}"))
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
    output = stack.command("docker", "compose", "exec", "-T", service, "python", "-c", VERSIONS)
    versions: dict[str, Any] = json.loads(output)
    return versions


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


@dataclass
class DeployedUnderRuns:
    """What was observed while both locations were deployed and runs of both were under way.

    Attributes:
        failed: for each location, the requests to its code server that failed.
        failed_ticks: of the sensors of both locations.
        loaded_by_daemon: the locations whose deploy ended after the daemon had loaded the new version.
        during: statuses of the load, the build and the queued run after both deploys.
        after: their statuses in the end.
        images: of their containers.
        images_before: that both locations ran on before.
        automatic: the runs that automation launched for the loaded month.
        automatic_images: of their containers.
        replaced: the services whose container is another one.
        runs: how many runs were launched in all.
        tag: that dbt_location was deployed with.
    """

    failed: dict[str, int]
    failed_ticks: list[dict[str, Any]]
    loaded_by_daemon: set[str]
    during: list[str]
    after: list[str]
    images: list[str]
    images_before: dict[str, str]
    automatic: list[dict[str, Any]]
    automatic_images: set[str]
    replaced: set[str]
    runs: int
    tag: str


def deploy_under_runs(deploys: Deploys) -> DeployedUnderRuns:
    """Deploys both locations while a load and a build are under way and a run is queued; switches automation on."""
    stack, webserver = deploys.stack, deploys.stack.webserver
    before, known = deploys.containers(), {run["runId"] for run in webserver.runs()}
    images_before = {location: f"{location}:{deploys.tag_in_use(location)}" for location in DATA_LOCATIONS}
    with held(stack):
        runs = [webserver.launch_month("2023-01-01"), webserver.launch(DBT, ["stg_zones"])]
        for run in runs:
            webserver.started(run, 180)
        # The pool has one place, so this run waits in the queue.
        runs.append(webserver.launch(DBT, ["stg_zones"]))
        webserver.start_sensor(DBT, "automatic_builds")
        with Watch(stack) as watch:
            printed = [deploys.deploy(location) for location in DATA_LOCATIONS]
        during = [webserver.run(run)["status"] for run in runs]
    after = [webserver.finished(run, 300)["status"] for run in runs]
    expected = sorted([*DAILY_ASSETS, *MONTHLY_ASSETS])

    def automatic() -> list[dict[str, Any]] | None:
        new = [run for run in webserver.runs() if run["runId"] not in {*known, *runs}]
        ended = all(run["status"] in FINISHED for run in new)
        return new if ended and {*expected} <= {asset for run in new for asset in run["assets"]} else None

    # The models that need the zones are built a tick later where the zones' model was built later.
    builds = wait_for("the builds of January", 300, automatic)
    wait_for_a_tick(deploys)
    launched = [run for run in webserver.runs() if run["runId"] not in known]
    print("Launched, the newest first:", [run["assets"] for run in launched])
    now = deploys.containers()
    return DeployedUnderRuns(
        watch.failed,
        webserver.failed_ticks(*DATA_LOCATIONS),
        {
            line.partition(":")[0]
            for lines in printed
            for line in lines.splitlines()
            if "the daemon has loaded it" in line
        },
        during,
        after,
        [image_of_run(stack, run) for run in runs],
        images_before,
        builds,
        {image_of_run(stack, run["runId"]) for run in builds},
        {service for service in before if before[service] != now[service]},
        len(launched),
        deploys.tag_in_use(DBT),
    )


@pytest.fixture
def deployed_under_runs(deploys: Deploys) -> DeployedUnderRuns:
    return deploys.stack.once("deployed under runs", lambda: deploy_under_runs(deploys))


def test_both_locations_are_deployed_while_runs_of_both_go_on_and_nothing_is_lost_or_done_twice(
    deployed_under_runs: DeployedUnderRuns,
) -> None:
    seen = deployed_under_runs
    assert seen.failed == dict.fromkeys(DATA_LOCATIONS, 0)
    assert seen.failed_ticks == []
    assert seen.loaded_by_daemon == set(DATA_LOCATIONS)
    assert seen.during == ["STARTED", "STARTED", "QUEUED"]
    assert seen.after == ["SUCCESS"] * 3
    assert seen.images == [seen.images_before[location] for location in (INGESTION, DBT, DBT)]
    assert {run["status"] for run in seen.automatic} == {"SUCCESS"}
    assert sorted(asset for run in seen.automatic for asset in run["assets"]) == sorted(
        [*DAILY_ASSETS, *MONTHLY_ASSETS]
    )
    assert seen.automatic_images == {f"{DBT}:{seen.tag}"}
    assert seen.replaced == set(DATA_LOCATIONS)
    # The three above and the builds: nothing was requested twice.
    assert seen.runs == 3 + len(seen.automatic)


def wait_for_a_tick(deploys: Deploys) -> None:
    """Waits until the automation has been evaluated once more."""
    ticks = deploys.stack.webserver.ticks
    before = ticks(DBT, "automatic_builds")[0]["tickId"]
    wait_for("a tick", 120, lambda: ticks(DBT, "automatic_builds")[0]["tickId"] != before or None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no-import", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("less", "taxi_trips: dbt_location needs the column total_amount, and ingestion_location has no such column."),
        ("needs-more", "taxi_trips: dbt_location needs the column surge, and ingestion_location has no such column."),
        ("broken-project", "broken.sql"),
    ],
)
def test_an_image_that_is_no_good_is_refused_before_anything_is_touched(
    deploys: Deploys, name: str, reason: str
) -> None:
    before = deploys.served(), deploys.containers(), deploys.env_file.read_text()
    refusal = deploys.not_deployed(VARIANTS[name][0], deploys.variant(name))
    assert reason in refusal
    assert "refused; the running version was not touched" in refusal
    assert deploys.history(VARIANTS[name][0])[-1].result == "refused"
    assert (deploys.served(), deploys.containers(), deploys.env_file.read_text()) == before


def test_an_image_whose_server_never_gets_healthy_is_refused(deploys: Deploys, monkeypatch: pytest.MonkeyPatch) -> None:
    before = deploys.served(), deploys.containers()
    tag = deploys.image(DBT, "silent", 'CMD ["sleep", "600"]')
    monkeypatch.setitem(deploys.stack.env, "DEPLOY_START_SECONDS", "5")
    assert "The code server was not healthy within DEPLOY_START_SECONDS=5" in deploys.not_deployed(DBT, tag)
    assert (deploys.served(), deploys.containers()) == before


def test_a_version_that_starts_on_trial_and_not_in_its_place_leaves_the_old_one_running(deploys: Deploys) -> None:
    before = deploys.served(), deploys.env_file.read_text(), run_policy(deploys.stack, DBT)
    containers = deploys.containers()
    error = deploys.not_deployed(DBT, deploys.variant("no-start"))
    assert "no such luck" in error
    assert f"not deployed; {DBT}:{deploys.tag_in_use(DBT)} runs as before" in error
    assert (deploys.served(), deploys.env_file.read_text(), run_policy(deploys.stack, DBT)) == before
    assert [record.result for record in deploys.history(DBT)][-1] == "restored"
    assert deploys.containers() == containers


@dataclass
class Rollout:
    """What was observed while a column was rolled out, and both locations rolled back.

    Attributes:
        refused: the rollback of the producer, whose column the consumer needs.
        forced: the same rollback with FORCE=1.
        results: of the producer's deploys and rollbacks, as the history has them, in order.
        reason: that the history has for the last of them.
        tags: of the consumer: before each of its deploys and after each of its rollbacks.
        printed: by the rollback of the consumer to the version that was deployed before.
        impossible: the rollback of the consumer from the version before its first deploy.
    """

    refused: subprocess.CompletedProcess[str]
    forced: subprocess.CompletedProcess[str]
    results: list[str]
    reason: str
    tags: list[str]
    printed: str
    impossible: subprocess.CompletedProcess[str]


def roll_out(deploys: Deploys) -> Rollout:
    """Deploys a column, producer first, rolls the producer back by force, then the consumer as far as possible."""
    # The consumer shall have been deployed once, on top of the version that the stack started with.
    if [record.result for record in deploys.history(DBT)].count("deployed") != 1:
        while deploys.make("rollback", f"LOCATION={DBT}").returncode == 0:
            pass
        deploys.deploy(DBT)
    tags = [PROJECT, deploys.tag_in_use(DBT)]
    known = len(deploys.history(INGESTION))
    deploys.deploy(INGESTION, deploys.variant("more"))
    deploys.deploy(DBT, deploys.variant("needs-more"))
    refused = deploys.make("rollback", f"LOCATION={INGESTION}")
    forced = deploys.make("rollback", f"LOCATION={INGESTION}", "FORCE=1")
    records = deploys.history(INGESTION)[known:]
    printed = []
    for _ in range(2):
        printed.append(deploys.rollback(DBT))
        tags.append(deploys.tag_in_use(DBT))
    impossible = deploys.make("rollback", f"LOCATION={DBT}")
    results = [record.result for record in records]
    return Rollout(refused, forced, results, records[-1].reason, tags, printed[0], impossible)


@pytest.fixture
def rollout(deploys: Deploys) -> Rollout:
    return deploys.stack.once("rollout", lambda: roll_out(deploys))


def test_a_column_is_rolled_out_producer_first(rollout: Rollout) -> None:
    assert rollout.refused.returncode != 0
    assert "dbt_location needs the column surge, and ingestion_location has no such column" in rollout.refused.stderr


@pytest.mark.usefixtures("rollout")
@pytest.mark.parametrize("location", DATA_LOCATIONS)
def test_the_run_policy_has_the_version_in_use_first_and_earlier_ones_after_it(deploys: Deploys, location: str) -> None:
    images = run_policy(deploys.stack, location)["images"]
    assert images[0] == f"{location}:{deploys.tag_in_use(location)}"
    assert len(images) > 1


def test_what_is_forced_is_in_the_history(rollout: Rollout) -> None:
    assert rollout.forced.returncode == 0, rollout.forced.stdout + rollout.forced.stderr
    assert rollout.reason.startswith("forced: taxi_trips: dbt_location needs the column surge")


def test_a_rollback_goes_back_step_by_step_to_what_was_there_before_the_first_deploy(rollout: Rollout) -> None:
    assert rollout.tags[2:] == rollout.tags[1::-1]
    impossible = rollout.impossible
    assert (impossible.returncode, "there is no good version before the one that runs" in impossible.stderr) == (
        2,
        True,
    )


def test_the_tests_of_an_image_that_was_deployed_before_are_not_run_again(rollout: Rollout) -> None:
    assert "its own tests are not run again: this image was deployed before" in rollout.printed


def test_the_history_says_what_was_deployed_by_whom_and_with_which_result(deploys: Deploys, rollout: Rollout) -> None:
    assert rollout.results == ["deployed", "refused", "deployed"]
    results = [line.split()[-1] for line in deploys.make("deployments", f"LOCATION={INGESTION}").stdout.splitlines()]
    assert "deployed" in results
    assert {record.by for record in deploys.history(INGESTION)} == {"the drill"}


@pytest.mark.release
def test_a_location_on_another_python_dagster_and_pyarrow_works_with_the_rest(
    deploys: Deploys, deployed_under_runs: DeployedUnderRuns, skewed: str, tmp_path: Path
) -> None:
    # January is built, and automation is on.
    assert deployed_under_runs.automatic
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


def end(deploys: Deploys, tag: str, line: str, number: signal.Signals, then: Callable[[], T]) -> T:
    """Deploys dbt_location, waits for a line of the deploy, calls a function, and ends the deploy by a signal."""
    command = ["make", "--no-print-directory", "deploy", f"LOCATION={DBT}", f"TAG={tag}"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=deploys.stack.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as deploy:
        assert deploy.stdout
        assert any(line in printed for printed in deploy.stdout)
        result = then()
        os.killpg(deploy.pid, number)
        deploy.stdout.read()
    return result


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.release)])
def test_a_deploy_that_is_ended_while_both_versions_run_is_put_right(deploys: Deploys, number: signal.Signals) -> None:
    before = deploys.served(), deploys.env_file.read_text()
    tag = deploys.variant("hangs")
    with Watch(deploys.stack) as watch:
        second = ("deploy", f"LOCATION={DBT}", f"TAG={PROJECT}")
        refused = end(deploys, tag, "starting it beside", number, lambda: deploys.make(*second))
        assert refused.returncode != 0
        assert f"{DBT} is being deployed by the drill since" in refused.stderr
        if number == signal.SIGKILL:
            # As after a power cut: nothing has been put back.
            deploys.rollback(DBT)
    assert watch.failed == dict.fromkeys(DATA_LOCATIONS, 0)
    assert (deploys.served(), deploys.env_file.read_text()) == before
    assert len(deploys.code_servers(DBT)) == 1


@pytest.mark.parametrize(
    "line", [pytest.param("starting it beside", marks=pytest.mark.release), "the gateway switches to it"]
)
def test_a_machine_that_reboots_in_the_middle_of_a_deploy_ends_with_one_good_code_server(
    deploys: Deploys, line: str
) -> None:
    stack = deploys.stack
    before = deploys.served()
    tag = deploys.image(DBT, "the-same", "RUN true")

    def both_run() -> bool | None:
        return len(deploys.code_servers(DBT, "--status", "running")) == 2 or None

    end(deploys, tag, line, signal.SIGKILL, lambda: wait_for("both versions to run", 60, both_run))
    running = stack.command("docker", "compose", "--profile", "sample", "ps", "--quiet").split()
    stack.command("docker", "kill", *running)
    # As Docker does when the machine is up again.
    stack.command("docker", "start", *running)
    answers = stack.webserver.code_server_answers
    wait_for(f"an answer of {DBT}", 180, lambda: answers(DBT, ZONES[DBT]) or None)
    stack.command("docker", "compose", "--profile", "sample", "up", "-d", "--wait")
    assert len(deploys.code_servers(DBT)) == 1
    wait_for("what was served before", 60, lambda: deploys.served() == before or None)
    deploys.deploy(DBT, PROJECT)
    assert len(deploys.code_servers(DBT)) == 1


def test_make_up_keeps_what_was_deployed(deploys: Deploys) -> None:
    for location in DATA_LOCATIONS:
        if not deploys.history(location):
            deploys.deploy(location)
    before, settings = (deploys.served(), deploys.containers()), deploys.env_file.read_text()
    deploys.env_file.write_text("")
    try:
        deploys.stack.command("make", "up")
        assert (deploys.served(), deploys.containers()) == before
    finally:
        deploys.env_file.write_text(settings)


def test_a_location_that_was_deployed_is_not_watched(deploys: Deploys) -> None:
    if not deploys.history(DBT):
        deploys.deploy(DBT)
    ended = deploys.make("watch", f"LOCATION={DBT}")
    assert ended.returncode != 0
    assert f"{DBT} was deployed by `make deploy`" in ended.stderr


def test_what_was_refused_leaves_no_image_behind(deploys: Deploys) -> None:
    tag = f"{PROJECT}-broken-project"
    if tag not in {record.version.tag for record in deploys.history(DBT)}:
        deploys.not_deployed(DBT, deploys.variant("broken-project"))
    # Of an image that is there, whose tests are not run again.
    deploys.deploy(DBT, PROJECT)
    tags = set(deploys.stack.command("docker", "image", "ls", "--format", "{{.Tag}}", DBT).split())
    assert tags & {tag, *(f"{PROJECT}-{name}" for name in ("silent", "no-start"))} == set()
    assert [image for image in run_policy(deploys.stack, DBT)["images"] if image.rpartition(":")[2] not in tags] == []
