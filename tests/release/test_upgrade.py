"""This release of Dagster migrates an instance that an older release wrote, and the history stays the same.

The older release lacks five migrations of the schema. services/migrate makes the databases, on the embedded Postgres.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.postgres import temporary_server
from ops.command import ROOT
from ops.locations import LOCATIONS
from services.migrate.apply import apply
from tests.release.test_fresh_clone import python_of
from tests.stack.webserver import Webserver, wait_for

LOCATION = Path(__file__).with_name("older_location.py")
BIN = ROOT / ".venv/bin"
ENDED_WELL = {"condition": "service_completed_successfully", "required": True}
SET_POOL = ("dagster", "instance", "concurrency", "set", "loading", "2")


@dataclass
class Upgraded:
    """The instance, and its history at each step of the upgrade.

    Attributes:
        older: folder with the executables of the older release.
        env: environment for commands on the instance.
        before: the history as the older release reads it.
        unmigrated: the history as this release reads it before the migration.
        pool: the attempt to set a pool's limit before the migration.
        migrated: the command of the migrate service.
        after: the history after the migration.
    """

    older: Path
    env: dict[str, str]
    before: Any
    unmigrated: Any
    pool: subprocess.CompletedProcess[str]
    migrated: subprocess.CompletedProcess[str]
    after: Any


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executables of a virtual environment with the older release."""
    python = python_of("3.11") or python_of("3.12")
    if python is None:
        pytest.skip("the older release needs Python 3.11 or 3.12")
    folder = tmp_path_factory.mktemp("older")
    subprocess.run([python, "-m", "venv", folder], check=True)
    # As the Makefile does.
    pip: list[str | Path] = [folder / "bin/pip", "install"]
    if shutil.which("uv"):
        pip = ["uv", "pip", "install", "--python", folder / "bin/python"]
    lock = ROOT / "tests/release/older.lock"
    subprocess.run([*pip, "--quiet", "--require-hashes", "--no-deps", "-r", lock], check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def upgraded(older: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    with temporary_server() as server:
        apply(f"host={server} user=postgres")
        env = os.environ | {
            # As in the migrate service.
            "DAGSTER_POSTGRES_URL": "postgresql+psycopg2:///dagster",
            "PGHOST": server,
            "PGUSER": "postgres",
        }
        storage = {"storage": {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}}
        before_home = home(tmp_path_factory.mktemp("before"), storage)
        # Only the owner creates tables.
        before = history(older, env | before_home | {"PGOPTIONS": "-c role=dagster_owner"}, "--write")
        # The stack's settings, except for those that need Docker: runs are processes here.
        settings = yaml.safe_load((ROOT / "dagster.yaml").read_text()) | storage
        settings["run_coordinator"] = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
        env |= home(
            tmp_path_factory.mktemp("after"),
            {name: settings[name] for name in settings.keys() - {"run_launcher", "compute_logs", "instance_class"}},
        )
        unmigrated = history(BIN, env)
        pool = command(env, *SET_POOL)
        migrated = command(env, *migrate_command(tmp_path_factory.mktemp("credentials")))
        yield Upgraded(older, env, before, unmigrated, pool, migrated, history(BIN, env))


def home(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    (folder / "dagster.yaml").write_text(yaml.safe_dump({**settings, "telemetry": {"enabled": False}}))
    return {"DAGSTER_HOME": str(folder)}


def history(executables: Path, env: dict[str, str], *arguments: str) -> Any:
    """The history as the release with these executables reads it."""
    ended = subprocess.run(
        [str(executables / "python"), str(LOCATION), *arguments], env=env, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    # Code servers that are ending print to it, too.
    (read,) = (line for line in ended.stdout.splitlines() if line.startswith("{"))
    return json.loads(read)


def migrate_command(credentials: Path) -> list[str]:
    """The command of the migrate service, with another folder for the passwords and the keys."""
    for role in ("dagster", "alerts", *LOCATIONS):
        (credentials / role).mkdir()
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["migrate"]
    shell, path = service["command"]
    script = (ROOT / path).read_text()
    for inside in ("/credentials", "/run/door", "/run/alerts"):
        script = script.replace(inside, str(credentials))
    return [shell, "-c", script]


def command(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    env = env | {"PATH": f"{BIN}:{env['PATH']}", "PYTHONPATH": str(ROOT / "services/dagster")}
    return subprocess.run(arguments, cwd=ROOT, env=env, capture_output=True, text=True)


def test_the_migrate_service_migrates_it_and_the_history_stays_what_it_was(upgraded: Upgraded) -> None:
    assert upgraded.migrated.returncode == 0, upgraded.migrated.stderr
    assert upgraded.after == upgraded.before


def test_the_history_that_is_compared_has_something_of_everything(upgraded: Upgraded) -> None:
    history = upgraded.before
    assert [run[1] for run in history["runs"]] == ["SUCCESS", "FAILURE", "SUCCESS", "SUCCESS"]
    assert (history["materialized"], history["failed"]) == (["2023-01-01", "2023-02-01"], ["2023-03-01"])
    assert history["switched_on"] == [["new_files", "RUNNING", "2023-04"], ["nightly", "RUNNING", None]]
    assert [backfill[0] for backfill in history["backfills"]] == ["upgrade0"]
    assert len(history["runs_of_backfill"]) == 2


def test_before_it_is_migrated_this_release_reads_it_and_fails_only_later(upgraded: Upgraded) -> None:
    """So only the order of the services keeps webserver and daemon from an instance that is not migrated."""
    assert upgraded.unmigrated == upgraded.before
    assert upgraded.pool.returncode != 0
    assert 'column "using_default_limit" of relation "concurrency_limits" does not exist' in upgraded.pool.stderr


@pytest.mark.skipif(not os.environ.get("REQUIRE_DOCKER") and not shutil.which("docker"), reason="there is no docker")
@pytest.mark.parametrize("service", ["webserver", "daemon", *LOCATIONS])
def test_compose_starts_nothing_of_dagster_before_the_migration_has_succeeded(service: str) -> None:
    config = subprocess.run(
        ["docker", "compose", "config", "--format", "json"], cwd=ROOT, capture_output=True, check=True
    )
    needs = {name: each.get("depends_on", {}) for name, each in json.loads(config.stdout)["services"].items()}
    # Webserver and daemon wait for the workspace service, which waits for the migration.
    step = "migrate" if "migrate" in needs[service] else "workspace"
    assert needs[service][step] == needs["workspace"]["migrate"] == ENDED_WELL


def test_a_location_of_the_older_release_runs_under_the_hosts_of_this_one(upgraded: Upgraded, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        server, ui = free_port(), free_port()
        workspace = tmp_path / "workspace.yaml"
        location = {"host": "127.0.0.1", "port": server, "location_name": "older"}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": location}]}))
        # As in a location's image there is no DAGSTER_HOME: the webserver passes the instance on.
        without_home = {name: value for name, value in upgraded.env.items() if name != "DAGSTER_HOME"}
        api = ("api", "grpc", "--port", f"{server}", "--python-file", LOCATION, "--location-name", "older")
        stack.enter_context(process(without_home, upgraded.older / "dagster", *api))
        stack.enter_context(
            process(upgraded.env, BIN / "dagster-webserver", "--port", f"{ui}", "--workspace", workspace)
        )
        webserver = Webserver(f"http://127.0.0.1:{ui}")

        def loaded() -> bool | None:
            with contextlib.suppress(OSError):
                return webserver.locations()["older"]["__typename"] == "RepositoryLocation" or None
            return None

        wait_for("the older location in the workspace", 120, loaded)
        run_id = webserver.launch("older", ["trips"], **{"dagster/partition": "2023-04-01"})
        assert webserver.finished(run_id)["status"] == "SUCCESS"
        assert webserver.materialized_partitions("trips") == 3


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def process(env: dict[str, str], *arguments: str | Path) -> Iterator[None]:
    with subprocess.Popen(arguments, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        try:
            yield
        finally:
            # Nothing of theirs is needed, and the graceful end of a code server takes up to a minute.
            started.kill()
