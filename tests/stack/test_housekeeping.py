"""Housekeeping of the live stack: it removes containers and keeps their output, and prunes logs."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.stack.conftest import ONE_SHOTS, Stack
from tests.stack.kills import die
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill

FAILED_AFTER_SECONDS = 30
SETTINGS = {
    "HOUSEKEEPING": "on",
    "REAP_INTERVAL_SECONDS": "10",
    "REAP_SUCCEEDED_AFTER_SECONDS": "0",
    "REAP_FAILED_AFTER_SECONDS": f"{FAILED_AFTER_SECONDS}",
    # A month that no drill loads.
    "TAXI_END_DATE": "2023-05-01",
}
OLD = 40 * 86_400
STEP_PRINTED = 'Finished execution of step "taxi_zones"'


@pytest.fixture
def tidy(project: Stack) -> Stack:
    """The stack with housekeeping on and short ages."""
    return project.start(**SETTINGS)


@pytest.fixture
def succeeded(tidy: Stack) -> str:
    """A run that succeeded."""
    return tidy.once("succeeded run", lambda: succeed(tidy))


def succeed(stack: Stack) -> str:
    run_id = stack.webserver.launch("ingestion_location", ["taxi_zones"])
    assert stack.webserver.finished(run_id)["status"] == "SUCCESS"
    return run_id


@dataclass
class Lost:
    """A run whose container was killed in the middle of its step.

    Attributes:
        run_id: the run.
        kept: metadata of the event that keeps the last output of its container.
        stayed: seconds from the death of its container to its removal.
    """

    run_id: str
    kept: dict[str, Any]
    stayed: float


@pytest.fixture
def lost(tidy: Stack) -> Lost:
    def lose() -> Lost:
        with tidy.source_silent():
            run_id = tidy.webserver.launch_month("2023-01-01")
            tidy.webserver.step_started(run_id)
            container = tidy.run_container(run_id)["Id"]
            with ends_of(container) as ends:
                die(tidy, container)
                assert tidy.webserver.finished(run_id)["status"] == "FAILURE"
                kept = last_output(tidy, run_id)
                (died, removed) = (int(next(ends)) / 1e9 for _ in range(2))
        return Lost(run_id, kept, removed - died)

    return tidy.once("lost run", lose)


@contextlib.contextmanager
def ends_of(container: str) -> Iterator[Iterator[str]]:
    """The times of a container's death and of its removal, in nanoseconds, as the engine tells of them."""
    events = ["timeout", "900", "docker", "events", "--filter", f"container={container}", "--format", "{{.TimeNano}}"]
    events += ["--filter", "event=die", "--filter", "event=destroy"]
    with subprocess.Popen(events, text=True, stdout=subprocess.PIPE) as told:
        assert told.stdout is not None
        try:
            yield iter(told.stdout)
        finally:
            told.terminate()


@pytest.fixture
def failed(tidy: Stack) -> str:
    """A run whose step found bad data: days whose month is not loaded."""

    def fail() -> str:
        if not tidy.query("select 1 as there from pg_tables where schemaname = 'raw_taxis' and tablename = 'trips'"):
            tidy.webserver.finished(tidy.webserver.launch_month("2023-02-01"))
        day = {"dagster/partition": "2023-04-01"}
        run_id = tidy.webserver.launch("dbt_location", ["stg_trips", "daily_metrics"], **day)
        assert tidy.webserver.finished(run_id)["status"] == "FAILURE"
        # Until then it stores events.
        running = ("docker", "ps", "--quiet", "--filter", f"label=dagster/run_id={run_id}")
        wait_for("the end of its container", 60, lambda: not tidy.command(*running) or None)
        return run_id

    return tidy.once("failed run", fail)


def containers(stack: Stack, run_id: str) -> list[str]:
    return stack.command("docker", "ps", "--all", "--quiet", "--filter", f"label=dagster/run_id={run_id}").split()


def gone(stack: Stack, run_id: str, seconds: float) -> None:
    wait_for(f"the container of run {run_id} to go", seconds, lambda: not containers(stack, run_id) or None)


def last_output(stack: Stack, run_id: str) -> dict[str, Any]:
    """The metadata that keeps with a run what its container printed last."""

    def look() -> dict[str, Any] | None:
        kept = [entries for entries in stack.webserver.metadata(run_id, "EngineEvent") if "last output" in entries]
        return kept[0] if kept else None

    return wait_for(f"the last output of run {run_id}", 60, look)


def test_the_container_of_a_run_that_succeeded_is_removed_and_what_its_step_printed_stays(
    tidy: Stack, succeeded: str
) -> None:
    gone(tidy, succeeded, 60)
    assert STEP_PRINTED in tidy.webserver.stderr(succeeded)


def test_what_a_lost_run_printed_outside_of_its_step_is_shown_in_the_ui(tidy: Stack, lost: Lost) -> None:
    assert (lost.kept["exit code"], lost.kept["out of memory"]) == (137, False)
    assert "Started execution of run" in lost.kept["last output"]
    assert "Started execution of run" not in tidy.webserver.stderr(lost.run_id)


def test_the_container_of_a_lost_run_stays_for_its_time(lost: Lost) -> None:
    assert lost.stayed >= FAILED_AFTER_SECONDS


def test_the_container_of_a_lost_run_is_removed_and_what_its_step_printed_stays(tidy: Stack, lost: Lost) -> None:
    gone(tidy, lost.run_id, FAILED_AFTER_SECONDS + 60)
    assert 'Started execution of step "taxi_trips"' in tidy.webserver.stderr(lost.run_id)
    kept = [entries for entries in tidy.webserver.metadata(lost.run_id, "EngineEvent") if "last output" in entries]
    assert len(kept) == 1


def test_the_containers_of_the_services_stay(tidy: Stack, succeeded: str) -> None:
    gone(tidy, succeeded, 60)
    assert {service["State"] for name, service in tidy.services().items() if name not in ONE_SHOTS} == {"running"}
    assert {tidy.services()[name]["State"] for name in ONE_SHOTS} == {"exited"}


def in_instance(stack: Stack, statement: str) -> str:
    """Runs a statement in the instance's database as superuser."""
    psql = ("psql", "-U", "postgres", "-d", "dagster", "-v", "ON_ERROR_STOP=1", "-qtAc", statement)
    return stack.command("docker", "compose", "exec", "-T", "postgres", *psql)


def events(stack: Stack, run_id: str) -> str:
    """The number of a run's events of each type in the database."""
    kind = "coalesce(dagster_event_type, 'log message')"
    return in_instance(
        stack, f"select {kind}, count(*) from event_logs where run_id = '{run_id}' group by 1 order by 1"
    )


def event_ids(stack: Stack, run_id: str) -> set[str]:
    return set(in_instance(stack, f"select id from event_logs where run_id = '{run_id}'").split())


def prune(stack: Stack, dry_run: bool) -> dict[str, Any]:
    """Runs the pruning and returns the metadata of its result."""
    config = {"ops": {"prune_old_events": {"config": {"dry_run": dry_run}}}}
    run_id = stack.webserver.launch_job("platform_location", "prune_run_history", config)
    assert stack.webserver.finished(run_id)["status"] == "SUCCESS"
    (result,) = stack.webserver.metadata(run_id, "ExecutionStepOutputEvent")
    return result


@pytest.fixture
def old(tidy: Stack) -> str:
    """A run that succeeded long ago, with its log."""

    def age() -> str:
        run_id = succeed(tidy)
        in_instance(tidy, f"update runs set end_time = end_time - {OLD} where run_id = '{run_id}'")
        return run_id

    return tidy.once("old run", age)


def test_a_dry_run_of_the_pruning_reports_what_would_be_deleted_and_changes_nothing(tidy: Stack, old: str) -> None:
    before = events(tidy, old)
    result = prune(tidy, dry_run=True)
    assert (result["dry run"], result["event rows"] > 0) == (True, True)
    assert events(tidy, old) == before
    assert STEP_PRINTED in tidy.webserver.stderr(old)


def test_the_pruning_deletes_the_log_of_an_old_run_and_keeps_its_materialization_and_newer_runs(
    tidy: Stack, old: str, failed: str
) -> None:
    before = event_ids(tidy, failed)
    tidy.forget("old run")
    assert prune(tidy, dry_run=False)["event rows"] > 0
    left = dict(line.split("|") for line in events(tidy, old).splitlines())
    assert left["ASSET_MATERIALIZATION"] == "1"
    assert left.keys() & {"log message", "ENGINE_EVENT", "LOGS_CAPTURED"} == set()
    # The daemon may add one about the container that it found ended.
    assert event_ids(tidy, failed) >= before
    assert tidy.webserver.run(old)["status"] == "SUCCESS"
