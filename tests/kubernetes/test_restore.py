"""Backups of the stack in the cluster, and their restore, by the commands of the compose stack."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kubernetes.conftest import MART, Cluster
from tests.stack.backfill import DAILY_ASSETS

pytestmark = [pytest.mark.drill, pytest.mark.release]


@dataclass
class Restored:
    cluster: Cluster
    backup: Path
    runs: set[str]  # in the history when the backup was made
    later: str  # a run after that
    refused: str  # what a restore without FORCE printed


@pytest.fixture(scope="module")
def restored(calm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Restored:
    """The cluster after its own backup was restored, from which its tables were missing."""
    folder = tmp_path_factory.mktemp("backups")
    runs = {run["runId"] for run in calm.webserver.runs()}
    made = calm.make("backup", BACKUP_DIR=str(folder))
    assert made.returncode == 0, made.stderr
    (backup,) = folder.glob("*Z")
    later = calm.webserver.launch("dbt_location", ["stg_zones"])
    calm.webserver.finished(later)
    calm.as_superuser("warehouse", f"truncate {MART}; drop table raw_taxis.trips cascade")
    refused = calm.make("restore", BACKUP=str(backup))
    assert refused.returncode != 0
    ended = calm.make("restore", BACKUP=str(backup), FORCE="1")
    assert ended.returncode == 0, ended.stderr
    calm.ready()
    return Restored(calm, backup, runs, later, refused.stderr)


def test_a_restore_does_not_replace_what_is_there_without_force(restored: Restored) -> None:
    assert "is not empty" in restored.refused


def test_a_restore_brings_the_tables_back(restored: Restored) -> None:
    restored.cluster.check_tables()


def test_a_restore_brings_the_history_back_as_it_was(restored: Restored) -> None:
    runs = {run["runId"] for run in restored.cluster.webserver.runs()}
    assert restored.runs <= runs
    assert restored.later not in runs


def test_work_goes_on_after_a_restore(restored: Restored) -> None:
    webserver = restored.cluster.webserver
    load = webserver.launch_month("2023-01-01")
    build = webserver.launch("dbt_location", DAILY_ASSETS, **{"dagster/partition": "2023-01-01"})
    assert [webserver.finished(run)["status"] for run in (load, build)] == ["SUCCESS", "SUCCESS"]
    restored.cluster.check_tables()


def test_a_backup_is_in_the_format_of_compose(restored: Restored) -> None:
    manifest = json.loads((restored.backup / "manifest.json").read_text())
    assert set(manifest["files"]) == {"dagster.dump", "warehouse.dump", "dbt_location_reports.tar"}
