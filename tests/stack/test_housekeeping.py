"""The live compose stack tidies up: containers go, what they printed stays, failures are told, old events go.

The tests use the stack as it is, with the ages of containers cut short, and build on one another, in this order.
"""

import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from integration.receiver import Receiver, receiving

from tests.stack.conftest import ONE_SHOTS, Stack
from tests.stack.test_failures import die
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill

# Long enough for the run monitoring to see a lost run, and for a look at its container afterwards.
FAILED_AFTER_SECONDS = 75
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


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    # The containers reach this machine by another address than its loopback one.
    with receiving("0.0.0.0") as receiver:
        yield receiver


@pytest.fixture(scope="module")
def tidy(stack: Stack, receiver: Receiver) -> Iterator[Stack]:
    before = dict(stack.env)
    bridge = json.loads(stack.command("docker", "network", "inspect", "bridge"))
    # This machine's own address there: an engine that was just started does not name it as the gateway.
    host = ip_network(bridge[0]["IPAM"]["Config"][0]["Subnet"])[1]
    stack.env |= {**SETTINGS, "NOTIFY_WEBHOOK_URL": f"http://{host}:{receiver.port}/hook", "DAGSTER_URL": "http://ui"}
    stack.up()
    wait_for("the first tick", 120, lambda: stack.webserver.ticks("platform_location", "notify_run_failure") or None)
    yield stack
    stack.env = before


@pytest.fixture(scope="module")
def succeeded(tidy: Stack) -> str:
    run_id = tidy.webserver.launch("ingestion_location", ["taxi_zones"])
    assert tidy.webserver.finished(run_id)["status"] == "SUCCESS"
    return run_id


@pytest.fixture(scope="module")
def lost(tidy: Stack) -> str:
    """A run whose container was killed in the middle of its step."""
    with tidy.source_silent():
        run_id = tidy.webserver.launch_month("2023-01-01")
        tidy.webserver.step_started(run_id)
        die(tidy, tidy.run_container(run_id)["Id"])
    assert tidy.webserver.finished(run_id)["status"] == "FAILURE"
    return run_id


@pytest.fixture(scope="module")
def failed(tidy: Stack) -> str:
    """A run whose step found bad data: days whose month is not loaded."""
    day = {"dagster/partition": "2023-04-01"}
    run_id = tidy.webserver.launch("dbt_location", ["stg_trips", "daily_metrics"], **day)
    assert tidy.webserver.finished(run_id)["status"] == "FAILURE"
    return run_id


def containers(stack: Stack, run_id: str) -> list[str]:
    return stack.command("docker", "ps", "--all", "--quiet", "--filter", f"label=dagster/run_id={run_id}").split()


def gone(stack: Stack, run_id: str, seconds: float) -> None:
    wait_for(f"the container of run {run_id} to go", seconds, lambda: not containers(stack, run_id) or None)


def stored_output(stack: Stack, run_id: str) -> dict[str, Any]:
    """What is kept with a run of what its container printed."""

    def look() -> dict[str, Any] | None:
        kept = [entries for entries in stack.webserver.metadata(run_id, "EngineEvent") if "last output" in entries]
        return kept[0] if kept else None

    return wait_for(f"the output of run {run_id}", 60, look)


def told(receiver: Receiver, run_id: str) -> list[dict[str, Any]]:
    """The notifications of a run, once there is one."""
    return wait_for(
        f"a notification of run {run_id}", 90, lambda: [got for got in receiver.got if got["run_id"] == run_id] or None
    )


def test_the_container_of_a_run_that_succeeded_goes_and_what_its_step_printed_stays(
    tidy: Stack, succeeded: str
) -> None:
    gone(tidy, succeeded, 60)
    assert STEP_PRINTED in tidy.webserver.stderr(succeeded)


def test_what_a_lost_run_printed_outside_of_its_step_is_read_in_the_ui(tidy: Stack, lost: str) -> None:
    kept = stored_output(tidy, lost)
    assert (kept["exit code"], kept["out of memory"]) == (137, False)
    assert "Started execution of run" in kept["last output"]
    assert "Started execution of run" not in tidy.webserver.stderr(lost)


def test_the_container_of_a_lost_run_stays_for_its_time(tidy: Stack, lost: str) -> None:
    assert stored_output(tidy, lost)
    assert [container["State"]["ExitCode"] for container in tidy.inspect(*containers(tidy, lost))] == [137]


def test_a_lost_run_is_told_once_with_the_monitorings_words_and_that_it_is_launched_again(
    tidy: Stack, lost: str, receiver: Receiver
) -> None:
    (message,) = told(receiver, lost)
    assert (message["location"], message["assets"], message["partition"]) == (
        "ingestion_location",
        ["taxi_trips"],
        "2023-01-01",
    )
    assert "Container status is exited" in message["reason"]
    assert (message["will_retry"], message["retry_number"], message["url"]) == (True, 0, f"http://ui/runs/{lost}")


def test_a_run_that_failed_in_the_other_location_is_told_with_its_steps_error(
    tidy: Stack, failed: str, receiver: Receiver
) -> None:
    (message,) = told(receiver, failed)
    assert (message["location"], message["partition"], message["will_retry"]) == ("dbt_location", "2023-04-01", False)
    assert "2023-04" in message["reason"]


def test_the_container_of_a_lost_run_goes_and_what_its_step_printed_stays(tidy: Stack, lost: str) -> None:
    gone(tidy, lost, FAILED_AFTER_SECONDS + 60)
    assert 'Started execution of step "taxi_trips"' in tidy.webserver.stderr(lost)
    assert len([kept for kept in tidy.webserver.metadata(lost, "EngineEvent") if "last output" in kept]) == 1


def test_the_containers_of_the_services_are_left_alone(tidy: Stack, lost: str) -> None:
    assert lost
    assert {service["State"] for name, service in tidy.services().items() if name not in ONE_SHOTS} == {"running"}
    assert {tidy.services()[name]["State"] for name in ONE_SHOTS} == {"exited"}


def in_instance(stack: Stack, statement: str) -> str:
    """Asks the instance's database as its superuser."""
    psql = ("psql", "-U", "postgres", "-d", "dagster", "-v", "ON_ERROR_STOP=1", "-qtAc", statement)
    return stack.command("docker", "compose", "exec", "-T", "postgres", *psql)


def events(stack: Stack, run_id: str) -> str:
    """A run's events in the database: types and numbers."""
    kind = "coalesce(dagster_event_type, 'log message')"
    return in_instance(
        stack, f"select {kind}, count(*) from event_logs where run_id = '{run_id}' group by 1 order by 1"
    )


def prune(stack: Stack, dry_run: bool) -> dict[str, Any]:
    """Launches the job and returns what it says."""
    config = {"ops": {"prune_events_and_logs": {"config": {"dry_run": dry_run}}}}
    run_id = stack.webserver.launch_job("platform_location", "prune_run_history", config)
    assert stack.webserver.finished(run_id)["status"] == "SUCCESS"
    (said,) = stack.webserver.metadata(run_id, "ExecutionStepOutputEvent")
    return said


def test_a_dry_run_of_the_pruning_says_what_would_go_and_changes_nothing(tidy: Stack, succeeded: str) -> None:
    in_instance(tidy, f"update runs set end_time = end_time - {OLD} where run_id = '{succeeded}'")
    before = events(tidy, succeeded)
    said = prune(tidy, dry_run=True)
    assert (said["dry run"], said["event rows"] > 0, said["compute log folders"]) == (True, True, 1)
    assert events(tidy, succeeded) == before
    assert STEP_PRINTED in tidy.webserver.stderr(succeeded)


def test_the_pruning_takes_the_log_of_an_old_run_and_leaves_its_materialization_and_newer_runs(
    tidy: Stack, succeeded: str, failed: str
) -> None:
    before = events(tidy, failed)
    assert prune(tidy, dry_run=False)["event rows"] > 0
    left = dict(line.split("|") for line in events(tidy, succeeded).splitlines())
    assert left["ASSET_MATERIALIZATION"] == "1"
    assert left.keys() & {"log message", "ENGINE_EVENT", "LOGS_CAPTURED"} == set()
    assert events(tidy, failed) == before
    assert tidy.webserver.run(succeeded)["status"] == "SUCCESS"
