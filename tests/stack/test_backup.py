"""A backup of the live stack, taken while a run loads, restored into an empty stack: the same tables and history."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from tests.independent import RightAnswers
from tests.stack.backfill import DAILY_ASSETS, DAYS, MONTHLY_ASSETS, MONTHS, run_all
from tests.stack.conftest import Stack
from tests.stack.test_failures import retried
from tests.stack.webserver import FINISHED, wait_for

pytestmark = pytest.mark.drill

_MATERIALIZATIONS = """
query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset { assetMaterializations {
  runId timestamp partition stepKey metadataEntries { label
    ... on IntMetadataEntry { intRepr } ... on FloatMetadataEntry { floatValue }
    ... on TextMetadataEntry { text } ... on UrlMetadataEntry { url } } } } } }
"""


@dataclass
class History:
    """What the UI shows: every run that has ended, partitions and materializations."""

    runs: list[dict[str, Any]]
    partitions: dict[str, int]
    materializations: dict[str, Any]


def history(stack: Stack, runs: set[str] | None = None) -> History:
    """The history of the runs that have ended, or of the given ones of them."""
    assets = ("taxi_trips", *DAILY_ASSETS, *MONTHLY_ASSETS)
    ended = [run for run in stack.webserver.runs() if run["status"] in FINISHED and (not runs or run["runId"] in runs)]
    ids = {run["runId"] for run in ended}
    materializations = {
        asset: stack.webserver.ask(_MATERIALIZATIONS, key={"path": [asset]})["assetOrError"]["assetMaterializations"]
        for asset in assets
    }
    compared = ("runId", "status", "creationTime", "endTime", "assets")
    return History(
        [{name: run[name] for name in compared} for run in ended],
        {asset: stack.webserver.materialized_partitions(asset) for asset in assets},
        {asset: [event for event in events if event["runId"] in ids] for asset, events in materializations.items()},
    )


@dataclass
class Backup:
    """An encrypted backup, its key, the history at its time, the run that was loading, and the right answers."""

    folder: Path
    key: Path
    before: History
    loading: str
    right: RightAnswers


@pytest.fixture(scope="module")
def backup(project: Stack, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    """A backup of a stack with three months, their days and metrics, taken while a month is loaded once more.

    It is encrypted; test_walls_secrets.py has one that is not.
    """
    project.start()
    assert set(project.once("backfill", lambda: run_all(project)).statuses) == {"SUCCESS"}
    folder, keys = tmp_path_factory.mktemp("backups"), tmp_path_factory.mktemp("keys")
    public, key = keys / "public", keys / "private"
    project.command("make", "backup-key", BACKUP_KEY_FILE=str(key), BACKUP_RECIPIENT_FILE=str(public))
    right = project.right_answers(tmp_path_factory.mktemp("sample"), *MONTHS)
    before = history(project)
    with project.source_silent():
        loading = project.webserver.launch_month("2023-02-01")
        project.webserver.started(loading)
        print(project.command("make", "backup", BACKUP_DIR=str(folder), BACKUP_RECIPIENT_FILE=str(public)))
    assert project.webserver.finished(loading)["status"] == "SUCCESS"
    (taken,) = folder.glob("2*")
    return Backup(taken, key, before, loading, right)


@pytest.fixture
def running(project: Stack, backup: Backup) -> Stack:
    """The stack that was backed up, or in which the backup was restored."""
    return project.start()


def test_a_damaged_backup_is_refused_before_anything_is_touched(running: Stack, backup: Backup, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(backup.folder, damaged)
    dump = damaged / "warehouse.dump.age"
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    services = {name: service["ID"] for name, service in running.services().items()}
    runs = running.webserver.run_count()
    with pytest.raises(AssertionError, match=r"warehouse.dump.age is not what the backup wrote"):
        running.command("make", "restore", f"BACKUP={damaged}", "FORCE=1")
    assert {name: service["ID"] for name, service in running.services().items()} == services
    assert running.webserver.run_count() == runs


def test_a_backup_is_for_its_owner_alone_and_shows_nothing_without_its_key(backup: Backup) -> None:
    files = {path.name: path for path in backup.folder.iterdir()}
    assert set(files) == {"dagster.dump.age", "warehouse.dump.age", "dbt_location_reports.tar.age", "manifest.json"}
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (backup.folder, backup.folder.parent)} == {0o700}
    assert all(
        path.read_bytes().startswith(b"age-encryption.org/v1") for path in files.values() if path.suffix == ".age"
    )


def test_a_backup_without_its_key_is_refused_before_anything_is_touched(running: Stack, backup: Backup) -> None:
    services = {name: service["ID"] for name, service in running.services().items()}
    with pytest.raises(AssertionError, match=r"encrypted for age1.*BACKUP_KEY_FILE is not set. Nothing was changed"):
        running.command("make", "restore", f"BACKUP={backup.folder}", "FORCE=1")
    assert {name: service["ID"] for name, service in running.services().items()} == services


def test_a_stack_that_is_not_empty_is_left_alone_and_the_error_names_its_contents(
    running: Stack, backup: Backup
) -> None:
    runs = running.webserver.run_count()
    with pytest.raises(AssertionError, match=rf"not empty: {runs} runs, .* in the warehouse"):
        running.command("make", "restore", f"BACKUP={backup.folder}", BACKUP_KEY_FILE=str(backup.key))
    assert running.webserver.run_count() == runs


def test_a_backup_starts_again_when_a_table_is_replaced_just_as_pg_dump_begins(stack: Stack, tmp_path: Path) -> None:
    in_warehouse = ("docker", "compose", "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "warehouse", "-qtAX")
    stack.command(*in_warehouse, "-c", "create table raw_taxis.replaced as select 1 as version")
    try:
        with subprocess.Popen(in_warehouse, cwd=ROOT, env=stack.env, text=True, stdin=subprocess.PIPE) as load:
            assert load.stdin is not None
            load.stdin.write(
                "begin; create table raw_taxis.new as select 2 as version; drop table raw_taxis.replaced;"
                "alter table raw_taxis.new rename to replaced;\n"
            )
            load.stdin.flush()
            gone = "select 1 as held from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = "
            wait_for("the load", 30, lambda: stack.query(f"{gone} 'raw_taxis.replaced'::regclass") or None)
            env = stack.env | {"BACKUP_DIR": str(tmp_path)}
            with subprocess.Popen(["make", "backup"], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE) as running:
                waits = "select 1 as waits from pg_locks join pg_stat_activity using (pid)"
                waits += " where application_name like 'backup %' and not granted"
                wait_for("pg_dump to wait for the load", 60, lambda: stack.query(waits) or None)
                load.stdin.write("commit;\n")
                load.stdin.close()
                output, _ = running.communicate()
    finally:
        stack.command(*in_warehouse, "-c", "drop table if exists raw_taxis.replaced")
    assert running.returncode == 0
    assert "attempt 1 of 5: a table of warehouse was replaced just when pg_dump began" in output


@pytest.fixture
def restored(project: Stack, backup: Backup) -> Stack:
    """A stack that had nothing, not even containers, and has the backup now."""

    def restore() -> Stack:
        project.destroy()
        key = str(backup.key)
        project.command("make", "restore", f"BACKUP={backup.folder}", COMPOSE_PROFILES="sample", BACKUP_KEY_FILE=key)
        return project.start()

    project.start()
    return project.once("restored", restore)


def test_the_run_that_was_loading_has_failed_and_is_retried(restored: Stack, backup: Backup) -> None:
    assert retried(restored, backup.loading)["status"] == "SUCCESS"


def test_runs_partitions_and_materializations_are_those_of_the_backup(restored: Stack, backup: Backup) -> None:
    assert history(restored, {run["runId"] for run in backup.before.runs}) == backup.before


def test_tables_and_reports_are_those_of_the_backup(restored: Stack, backup: Backup) -> None:
    restored.check_days(backup.right)
    restored.check_months(backup.right)
    assert restored.report("2023-02.html")[0] == 200


def test_work_goes_on(restored: Stack, backup: Backup) -> None:
    backfill_id = restored.webserver.backfill(DAILY_ASSETS, DAYS[31:59])
    assert [run["status"] for run in restored.webserver.backfill_runs(backfill_id)] == ["SUCCESS"]
    restored.check_days(backup.right)
