"""What webserver and daemon believe of what a code server says: real code servers, asked by the daemon's own code."""

import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import dagster as dg
import dagster_postgres.utils
import pytest
import yaml
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.remote_representation.external import RemoteSchedule, RemoteSensor
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import ScheduleIterationTimes, launch_scheduled_runs
from platform_host import code_location
from platform_host.code_location import GuardedCodeLocation
from platform_host.ownership import forget_others
from sqlalchemy import create_engine

from ops.command import ROOT
from tests.embedded import temporary_databases
from tests.platform_host.policies import run

OWNER, HOSTILE, COPYING, ODD = "ingestion_location", "dbt_location", "copying_location", "odd_location"
REPOSITORIES = {OWNER: "owner", HOSTILE: "hostile", COPYING: "duplicate", ODD: "misdeclared"}
LOG = logging.getLogger("daemon")
# The locations that are refused.
pytestmark = pytest.mark.filterwarnings("ignore:Error loading repository location")


@dataclass
class Host:
    """What webserver and daemon have: the instance, and the workspace of all locations."""

    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext
    url: str
    # The folder of Postgres's socket.
    server: str
    origins: Mapping[str, GrpcServerCodeLocationOrigin]
    # The newest tick of each sensor and schedule of HOSTILE, by name.
    ticks: dict[str, InstigatorTick] = field(default_factory=dict)

    def load_error(self, location: str) -> str:
        entry = self.workspace.create_request_context().get_location_entry(location)
        assert entry is not None
        return entry.load_error.message if entry.load_error else ""

    def run(self, location: str, **tags: str) -> dg.DagsterRun:
        """A run of a location, as the webserver submits it."""
        of_location = run(location)
        created = self.instance.create_run_for_job(
            nothing,
            tags=tags,
            remote_job_origin=of_location.remote_job_origin,
            job_code_origin=of_location.job_code_origin,
        )
        return self.instance.submit_run(created.run_id, self.workspace.create_request_context())


@dg.job
def nothing() -> None: ...


@contextmanager
def host(folder: Path, server: str) -> Iterator[Host]:
    """The instance with the classes and the queue of dagster.yaml, on the embedded Postgres."""
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    kept = {name: settings[name] for name in ("instance_class", "compute_logs", "run_coordinator", "concurrency")}
    url = f"postgresql+psycopg2://dagster@/dagster?host={server}"
    kept["storage"] = {"postgres": {"postgres_url": url}}
    kept["run_launcher"] = {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(kept))
    origins = {
        location: GrpcServerCodeLocationOrigin("localhost", socket=socket(folder, repository), location_name=location)
        for location, repository in REPOSITORIES.items()
    }
    entries = [
        {"grpc_server": {"host": origin.host, "socket": origin.socket, "location_name": location}}
        for location, origin in origins.items()
    ]
    file = folder / "workspace.yaml"
    file.write_text(yaml.safe_dump({"load_from": entries}))
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        for origin in origins.values():
            wait_for_server(origin)
        # It is the first one that has its assets.
        origins[OWNER].create_location(instance)
        with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(file)])) as workspace:
            yield Host(instance, workspace, url, server, origins)


def socket(folder: Path, repository: str) -> str:
    return str(folder / f"{repository}.sock")


def serve(folder: Path, repository: str, started: ExitStack) -> None:
    code = str(Path(__file__).with_name("hostile_code.py"))
    served = ["--python-file", code, "--attribute", repository, "--socket", socket(folder, repository)]
    process = subprocess.Popen([sys.executable, "-m", "dagster", "api", "grpc", *served], cwd=ROOT)
    started.callback(process.wait)
    started.callback(process.kill)


def wait_for_server(origin: GrpcServerCodeLocationOrigin) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            origin.create_client().ping("")
            return
        except DagsterUserCodeUnreachableError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@pytest.fixture(scope="module")
def attacked() -> Iterator[Host]:
    """The host after all sensors and the schedule of HOSTILE had their tick."""
    with ExitStack() as started, TemporaryDirectory() as name:
        folder = Path(name)
        for repository in REPOSITORIES.values():
            serve(folder, repository, started)
        server = started.enter_context(temporary_databases())
        found = started.enter_context(host(folder, server))
        found.instance.add_dynamic_partitions("months", ["kept"])
        for whose in (OWNER, HOSTILE):
            found.run(whose, of=whose)
        list(execute_sensor_iteration(found.workspace, LOG, None, None))
        now = datetime.now(UTC)
        times: dict[str, ScheduleIterationTimes] = {}
        for end in (now, now + timedelta(minutes=1)):
            list(launch_scheduled_runs(found.workspace, LOG, end, times))
        location = found.workspace.create_request_context().get_code_location(HOSTILE)
        (served,) = location.get_repositories().values()
        asked: list[RemoteSensor | RemoteSchedule] = [*served.get_sensors(), *served.get_schedules()]
        for one in asked:
            (found.ticks[one.name],) = found.instance.get_ticks(one.get_remote_origin_id(), one.selector_id, limit=1)
        yield found


def error(host: Host, name: str) -> str:
    tick = host.ticks[name]
    assert tick.status == TickStatus.FAILURE
    assert tick.error is not None
    return tick.error.message


NOT_OWN = "which is not dbt_location's"


@pytest.mark.parametrize(
    ("sensor", "message"),
    [
        ("reports_a_foreign_asset_as_built", f'asks for the asset ["trips"], {NOT_OWN}'),
        ("reports_a_foreign_asset_as_observed", f'asks for the asset ["trips"], {NOT_OWN}'),
        ("reports_a_foreign_check", f'asks for the check "complete" of the asset ["trips"], {NOT_OWN}'),
        ("adds_foreign_partitions", 'asks for the dynamic partitions "months", which are not dbt_location\'s'),
        ("deletes_foreign_partitions", 'asks for the dynamic partitions "months", which are not dbt_location\'s'),
        ("requests_a_backfill_of_a_foreign_asset", f'asks for the asset ["trips"], {NOT_OWN}'),
        ("requests_a_run_of_a_foreign_asset", f'asks for the asset ["trips"], {NOT_OWN}'),
        ("requests_a_run_of_a_foreign_check", f'asks for the check "complete" of the asset ["trips"], {NOT_OWN}'),
        ("requests_a_run_whose_plan_has_a_foreign_asset", f'asks for the asset ["trips"], {NOT_OWN}'),
        ("acts_on_a_foreign_run", f", {NOT_OWN}"),
        ("acts_on_a_run_that_it_says_is_its_own", f", {NOT_OWN}"),
        ("says_what_a_foreign_asset_needs", f'asks for the asset ["trips"], {NOT_OWN}'),
        ("gives_its_run_a_priority", "gives a run the tag dagster/priority, which only the platform gives"),
        ("gives_its_run_unlimited_time", "gives a run the tag dagster/max_runtime, which"),
        ("puts_its_run_into_a_backfill", "gives a run the tag dagster/backfill, which"),
        ("retries_a_foreign_run", "gives a run the tag dagster/parent_run_id, which"),
        ("moves_its_run_to_another_location", "gives a run the tag dagster/code_location, which"),
        ("says_who_launched_its_run", "gives a run the tag user, which"),
        ("keeps_the_events_of_its_plan_back", "gives a run the tag dagster/defer_asset_events, which"),
        ("has_an_endless_cursor", "gives a cursor of 2000000 characters, of which 1048576 are allowed"),
        ("schedules_a_foreign_asset", f'asks for the asset ["trips"], {NOT_OWN}'),
    ],
)
def test_an_answer_that_asks_for_what_is_not_its_locations_fails_its_tick(
    attacked: Host, sensor: str, message: str
) -> None:
    text = error(attacked, sensor)
    assert message in text
    assert HOSTILE in text


def test_nothing_of_a_refused_answer_is_done(attacked: Host) -> None:
    instance = attacked.instance
    trips = dg.AssetKey("trips")
    assert instance.fetch_materializations(trips, limit=1).records == []
    assert instance.fetch_observations(trips, limit=1).records == []
    assert instance.get_dynamic_partitions("months") == ["kept"]
    assert instance.get_backfills() == []
    (foreign,) = instance.get_runs(dg.RunsFilter(tags={"of": OWNER}))
    assert [entry.dagster_event_type for entry in instance.all_logs(foreign.run_id)] == [
        dg.DagsterEventType.PIPELINE_ENQUEUED
    ]
    requested = instance.get_runs(dg.RunsFilter(tags={"dagster/code_location": HOSTILE}))
    assert {run.tags["dagster/sensor_name"] for run in requested if "of" not in run.tags} == {"is_as_it_should_be"}


def test_what_is_its_locations_own_is_done(attacked: Host) -> None:
    instance = attacked.instance
    assert attacked.ticks["is_as_it_should_be"].status == TickStatus.SUCCESS
    assert attacked.ticks["acts_on_its_own_run"].status == TickStatus.SUCCESS
    assert len(instance.fetch_materializations(dg.AssetKey("mine"), limit=2).records) == 1
    assert instance.get_dynamic_partitions("own_days") == ["today"]
    (run,) = instance.get_runs(dg.RunsFilter(tags={"note": "x"}))
    assert run.asset_selection is None
    assert run.status == dg.DagsterRunStatus.QUEUED


@pytest.mark.parametrize(
    "what",
    [
        'the asset ["trips"], which is ingestion_location\'s',
        'the check "complete" of the asset ["trips"], which is ingestion_location\'s',
        'the job with a condition "build_trips", which is ingestion_location\'s',
        "closes a circle of assets that are made from each other",
    ],
)
def test_a_location_that_declares_what_is_another_ones_is_not_loaded(attacked: Host, what: str) -> None:
    assert what in attacked.load_error(COPYING)


@pytest.mark.parametrize(
    "what",
    [
        'gives the asset ["trips"], which it does not build, parent_edges',
        'asks for the job with a condition "build_trips"',
        "gives the job 'urgent' the tag dagster/priority",
        "gives the sensor 'foreign_jobs' the tag dagster/priority",
        'gives the asset ["squared"] more than 100000 partitions',
        'gives the asset ["by_minute"] more than 100000 partitions',
    ],
)
def test_a_location_that_declares_more_than_its_own_is_not_loaded(attacked: Host, what: str) -> None:
    assert what in attacked.load_error(ODD)


def test_the_others_stay_loaded(attacked: Host) -> None:
    assert [attacked.load_error(location) for location in (OWNER, HOSTILE)] == ["", ""]
    attacked.workspace.create_request_context().asset_graph.toposorted_asset_keys  # noqa: B018
    assert (
        attacked.workspace.create_request_context()
        .asset_graph.get_repository_handle(dg.AssetKey("trips"))
        .location_name
        == OWNER
    )


def test_a_location_is_guarded_after_a_reload_too(attacked: Host) -> None:
    assert isinstance(attacked.origins[OWNER].reload_location(attacked.instance), GuardedCodeLocation)


def test_a_location_that_is_loaded_while_postgres_is_away_is_loaded_when_it_is_back(
    attacked: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = Path(attacked.server) / ".s.PGSQL.5432"
    away = postgres.rename(postgres.with_suffix(".away"))
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        away.rename(postgres)

    # Dagster itself tries six times, and raises an error of its own.
    monkeypatch.setattr(dagster_postgres.utils, "calculate_delay", lambda **_: 0)
    monkeypatch.setattr(code_location, "time", SimpleNamespace(monotonic=time.monotonic, sleep=wait))
    attacked.instance.run_storage._engine.dispose()  # type: ignore[attr-defined]
    try:
        assert isinstance(attacked.origins[OWNER].create_location(attacked.instance), GuardedCodeLocation)
    finally:
        if away.exists():
            away.rename(postgres)
    assert len(waits) == 1


def test_what_a_removed_location_had_may_be_anothers(attacked: Host) -> None:
    engine = create_engine(attacked.url)
    forget_others(engine, [HOSTILE])
    try:
        assert isinstance(attacked.origins[COPYING].create_location(attacked.instance), GuardedCodeLocation)
    finally:
        forget_others(engine, [HOSTILE])
        attacked.origins[OWNER].create_location(attacked.instance)


def test_each_answer_of_a_code_server_that_this_release_asks_for_is_decided() -> None:
    """A method that a release adds may do what a code server says. Wrap it in code_location.py, or list it here."""
    about_itself = {
        "cleanup", "container_context", "container_image", "entry_point", "executable_path", "get_current_runs",
        "get_dagster_library_versions", "get_defs_state_info", "get_display_metadata", "get_notebook_data",
        "get_partition_config", "get_partition_names_from_repo", "get_repositories", "get_repository",
        "get_repository_names", "get_repository_python_origin", "has_repository", "host", "is_reload_supported", "name",
        "origin", "port", "repository_code_pointer_dict", "server_id", "socket", "use_ssl",
    }  # fmt: skip
    by_what_is_guarded = {"get_job", "gen_subset_job"}
    guarded = {name for name in vars(GuardedCodeLocation) if not name.startswith("_")}
    assert {name for name in dir(GrpcServerCodeLocation) if not name.startswith("_")} == (
        about_itself | by_what_is_guarded | guarded
    )
