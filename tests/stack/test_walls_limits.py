"""What the code of a location can use up and do: to the limits of its run, while the others' runs go on.

The runs are those of assets that a hostile team adds to its location (misuse.py).
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.stack.conftest import ONE_SHOTS, PROJECT, Stack

LOCATION, OTHER = "ingestion_location", "dbt_location"
TAG = f"{PROJECT}-misuse"
LIMITS = {"RUN_MEMORY_LIMIT": "600m", "RUN_PIDS_LIMIT": "200", "RUN_CPUS_LIMIT": "0.5"}
MISUSES = ("fork_bomb", "memory_hog", "cpu_burner", "log_flood")
# Four runs are in progress at once, so this many leave a place for another team's.
AT_ONCE = 3
MB = 2**20
# Tells a process's capabilities and whether it may gain any, then tries to write outside of the volumes.
# The init of Postgres is root, as it starts what becomes the user postgres; its child is the server.
RIGHTS = """
child=$(cat /proc/1/task/1/children)
grep -E 'CapEff|NoNewPrivs' /proc/${child%% *}/status
touch /written /etc/written 2>&1 || true
"""


@dataclass(frozen=True)
class Misused:
    """The runs that misuse what they can, by asset, and one of another team beside them."""

    stack: Stack
    runs: dict[str, dict[str, Any]]
    other: dict[str, Any]

    def failure(self, asset: str) -> str:
        """What `make status` says of the failure of an asset's run."""
        failures = json.loads(self.stack.status("FORMAT=json")[1])["failures"]
        (reason,) = [failure["reason"] for failure in failures if failure["assets"] == [asset]]
        return str(reason)


@pytest.fixture
def misused(project: Stack, tmp_path: Path) -> Misused:
    def misuse() -> Misused:
        webserver = project.start().webserver
        assert webserver.finished(webserver.launch(LOCATION, ["taxi_zones"]))["status"] == "SUCCESS"
        shutil.copy(Path(__file__).with_name("misuse.py"), tmp_path)
        (tmp_path / "Dockerfile").write_text(f"FROM {LOCATION}:{PROJECT}\nCOPY misuse.py src/{LOCATION}/defs/\n")
        project.command("docker", "build", "--quiet", "--tag", f"{LOCATION}:{TAG}", str(tmp_path))
        project.start(INGESTION_LOCATION_TAG=TAG, **LIMITS)
        # A lost run would be launched again.
        once = {"dagster/max_retries": "0"}
        launched = {asset: webserver.launch(LOCATION, [asset], **once) for asset in MISUSES[:AT_ONCE]}
        other = webserver.launch(OTHER, ["stg_zones"])
        launched |= {asset: webserver.launch(LOCATION, [asset], **once) for asset in MISUSES[AT_ONCE:]}
        ended = {asset: {"runId": run, **webserver.finished(run)} for asset, run in launched.items()}
        return Misused(project, ended, {"runId": other, **webserver.finished(other)})

    return project.once("misused", misuse)


@pytest.mark.drill
def test_while_a_location_misuses_all_that_it_can_another_ones_run_goes_on_and_ends_right(misused: Misused) -> None:
    assert misused.other["status"] == "SUCCESS", misused.other
    burner = misused.stack.run_container(misused.runs["cpu_burner"]["runId"])
    assert misused.stack.run_container(misused.other["runId"])["Created"] < burner["State"]["FinishedAt"]


@pytest.mark.drill
def test_a_fork_bomb_is_stopped_at_the_limit_and_the_status_names_the_setting(misused: Misused) -> None:
    run = misused.runs["fork_bomb"]
    assert run["status"] == "FAILURE"
    assert "RUN_PIDS_LIMIT" in misused.failure("fork_bomb")


@pytest.mark.drill
def test_a_run_that_takes_too_much_memory_is_killed_and_its_failure_names_the_limit(misused: Misused) -> None:
    run = misused.runs["memory_hog"]
    assert run["status"] == "FAILURE"
    assert misused.stack.run_container(run["runId"])["State"]["OOMKilled"]
    (message,) = [event["message"] for event in run["eventConnection"]["events"] if event.get("message")]
    assert "killed: out of memory (limit 600 MB, setting RUN_MEMORY_LIMIT)" in message
    assert "killed: out of memory (limit 600 MB, setting RUN_MEMORY_LIMIT)" in misused.failure("memory_hog")


@pytest.mark.drill
def test_a_flood_of_output_leaves_a_container_log_of_a_few_megabytes(misused: Misused) -> None:
    run = misused.runs["log_flood"]
    assert run["status"] == "SUCCESS"
    container = misused.stack.run_container(run["runId"])["Id"]
    kept = subprocess.run(["docker", "logs", container], capture_output=True, check=True)
    assert 1 * MB < len(kept.stdout) + len(kept.stderr) < 25 * MB


@pytest.mark.drill
def test_a_run_that_burns_processors_gets_those_of_its_limit(misused: Misused) -> None:
    run = misused.runs["cpu_burner"]
    assert run["status"] == "SUCCESS"
    (told,) = misused.stack.webserver.metadata(run["runId"], "MaterializationEvent")
    assert told["percent of a processor"] < 60


def test_no_service_has_a_right_of_root_or_can_change_its_container(stack: Stack) -> None:
    for service in sorted(stack.services().keys() - {*ONE_SHOTS, "sample"}):
        told = stack.command("docker", "compose", "exec", "-T", service, "sh", "-c", RIGHTS)
        assert "CapEff:\t0000000000000000" in told, service
        assert "NoNewPrivs:\t1" in told, service
        assert told.count("Read-only file system") == 2, f"{service}: {told}"
