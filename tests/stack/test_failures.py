"""The live compose stack through failures: each ends with the right rows and without anyone's help.

The tests start the stack anew, without automation, and build on one another, in this order.
"""

import contextlib
import os
import signal
import subprocess
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from contract.workspace import ROOT
from tests.independent import RightAnswers
from tests.stack.conftest import PROJECT, Stack
from tests.stack.webserver import FINISHED, wait_for

pytestmark = pytest.mark.drill

DAILY_ASSETS = ["stg_trips", "daily_metrics", "location_metrics", "manhattan_stats"]
DAYS = {"dagster/asset_partition_range_start": "2023-01-01", "dagster/asset_partition_range_end": "2023-01-31"}
MONTHS = ("2023-01",)
ROOT_RUN = "dagster/root_run_id"
# As in dagster.yaml.
MAX_RETRIES = 2


@pytest.fixture(scope="module")
def failing(stack: Stack) -> Stack:
    """A stack with a month and its days in it."""
    stack.command("make", "destroy")
    stack.up()
    for location, assets in (("ingestion_location", ["taxi_zones"]), ("dbt_location", ["stg_zones"])):
        assert stack.webserver.finished(stack.webserver.launch(location, assets))["status"] == "SUCCESS"
    assert stack.webserver.finished(stack.webserver.launch_month("2023-01-01"))["status"] == "SUCCESS"
    assert stack.webserver.finished(stack.webserver.launch("dbt_location", DAILY_ASSETS, **DAYS))["status"] == "SUCCESS"
    return stack


@pytest.fixture(scope="module")
def right(failing: Stack, tmp_path_factory: pytest.TempPathFactory) -> RightAnswers:
    return failing.right_answers(tmp_path_factory.mktemp("sample"), *MONTHS)


@contextlib.contextmanager
def source_silent(stack: Stack) -> Iterator[None]:
    """The source takes connections and answers nothing, so that a load waits in the middle."""
    stack.command("docker", "compose", "--profile", "sample", "pause", "sample")
    try:
        yield
    finally:
        stack.command("docker", "compose", "--profile", "sample", "unpause", "sample")


@contextlib.contextmanager
def mart_locked(stack: Stack) -> Iterator[None]:
    """Someone holds a mart's table, so that dbt waits in the middle of a model."""
    psql = ("docker", "compose", "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "warehouse", "-qtAc")
    lock = "set application_name = 'holder'; begin; lock table analytics.daily_metrics; select pg_sleep(300)"
    with subprocess.Popen([*psql, lock], cwd=ROOT, env=stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        held = "select 1 as held from pg_locks where relation = 'analytics.daily_metrics'::regclass and granted"
        wait_for("the lock", 30, lambda: stack.query(held) or None)
        try:
            yield
        finally:
            end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'holder'"
            stack.command(*psql, end)


def dbt_waits(stack: Stack) -> None:
    """Waits until dbt waits for the mart."""
    waiting = "select 1 as waits from pg_locks where relation = 'analytics.daily_metrics'::regclass and not granted"
    wait_for("dbt to wait for its table", 120, lambda: stack.query(waiting) or None)


def die(stack: Stack, container: str) -> None:
    """Kills a container's main process from outside, as the kernel does when memory runs out."""
    (inspected,) = stack.inspect(container)
    os.kill(inspected["State"]["Pid"], signal.SIGKILL)


def die_and_come_back(stack: Stack, service: str) -> None:
    """Kills a service and waits until Docker has started it again and it is healthy."""
    container = stack.services()[service]["ID"]
    (before,) = stack.inspect(container)
    die(stack, container)

    def look() -> bool | None:
        (now,) = stack.inspect(container)
        started = now["State"]["StartedAt"] != before["State"]["StartedAt"]
        return (started and now["State"]["Health"]["Status"] == "healthy") or None

    wait_for(f"{service} to be back", 180, look)


def retried(stack: Stack, run_id: str) -> dict[str, Any]:
    """Waits until a lost run has failed, and for the end of the run that replaces it."""
    assert stack.webserver.finished(run_id)["status"] == "FAILURE"

    def look() -> str | None:
        retries = [run for run in stack.webserver.runs() if run["tags"].get("dagster/parent_run_id") == run_id]
        return retries[0]["runId"] if retries else None

    return stack.webserver.finished(wait_for(f"retry of run {run_id}", 120, look))


def ended_well(stack: Stack, run_id: str) -> bool:
    """Waits until a run has succeeded, or a retry of it has; false where one failed without there being another."""

    def look() -> bool | None:
        # A webserver whose connections broke answers with an error once for each.
        with contextlib.suppress(urllib.error.URLError):
            runs = [run for run in stack.webserver.runs() if run_id in (run["runId"], run["tags"].get(ROOT_RUN))]
            if any(run["status"] == "SUCCESS" for run in runs):
                return True
            if len(runs) > MAX_RETRIES and all(run["status"] in FINISHED for run in runs):
                return False
        return None

    return wait_for(f"a good end of run {run_id}", 300, look)


def test_a_run_that_is_killed_while_it_loads_is_retried(failing: Stack, right: RightAnswers) -> None:
    with source_silent(failing):
        run_id = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(run_id)
        die(failing, failing.run_container(run_id)["Id"])
    assert retried(failing, run_id)["status"] == "SUCCESS"
    failing.check_days(right)


def test_a_run_that_is_killed_while_dbt_builds_is_retried_and_gives_its_pool_back(
    failing: Stack, right: RightAnswers
) -> None:
    with mart_locked(failing):
        run_id = failing.webserver.launch("dbt_location", DAILY_ASSETS, **DAYS)
        dbt_waits(failing)
        die(failing, failing.run_container(run_id)["Id"])
    assert retried(failing, run_id)["status"] == "SUCCESS"
    assert failing.webserver.finished(failing.webserver.launch("dbt_location", ["stg_zones"]))["status"] == "SUCCESS"
    failing.check_days(right)


def test_a_run_whose_data_is_bad_is_not_retried(failing: Stack) -> None:
    run_id = failing.webserver.launch("dbt_location", DAILY_ASSETS, **{"dagster/partition": "2023-02-01"})
    assert failing.webserver.finished(run_id)["status"] == "FAILURE"
    # A later run that was retried has had its retry, so this one's would be there.
    with source_silent(failing):
        lost = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(lost)
        die(failing, failing.run_container(lost)["Id"])
    retried(failing, lost)
    assert [run for run in failing.webserver.runs() if run["tags"].get("dagster/parent_run_id") == run_id] == []


@pytest.mark.parametrize("service", ["ingestion_location", "webserver", "daemon"])
def test_a_service_that_dies_comes_back_and_the_run_in_flight_ends_well(
    failing: Stack, right: RightAnswers, service: str
) -> None:
    with source_silent(failing):
        run_id = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(run_id)
        die_and_come_back(failing, service)
    assert failing.webserver.finished(run_id)["status"] == "SUCCESS"
    failing.check_days(right)


def test_after_a_reboot_what_was_asked_for_gets_done(failing: Stack, right: RightAnswers) -> None:
    with source_silent(failing):
        started = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(started)
        # Its container is started too, or it is still in the queue.
        queued = failing.webserver.launch_month("2023-01-01")
        die(failing, failing.run_container(started)["Id"])
    failing.command("docker", "compose", "--profile", "sample", "kill")
    runs = failing.command("docker", "ps", "--quiet", "--filter", f"label=project={PROJECT}").split()
    if runs:
        failing.command("docker", "kill", *runs)
    failing.up()
    assert ended_well(failing, started)
    assert ended_well(failing, queued)
    failing.check_days(right)


# The last one: each connection that the webserver kept costs it one answer afterwards.
def test_postgres_that_dies_under_a_load_comes_back_and_the_month_gets_loaded(
    failing: Stack, right: RightAnswers
) -> None:
    with source_silent(failing):
        run_id = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(run_id)
        die_and_come_back(failing, "postgres")
    # The load goes on where Postgres was away for a moment; where its run is lost, another one takes its place.
    assert ended_well(failing, run_id)
    failing.check_days(right)
