"""The alerts of the live stack: a real receiver on this machine is told what begins to need a person and what ends."""

import json
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from tests.receiver import Receiver, receiving
from tests.stack.conftest import Stack
from tests.stack.kills import die
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill


SECRETS = ("alerts", "alerts_ping_url")


@pytest.fixture(scope="module")
def receiver(project: Stack) -> Iterator[Receiver]:
    # The containers cannot reach this machine's loopback address.
    with receiving("0.0.0.0") as receiver:
        yield receiver
        # A receiver that is away would be a problem of the stack, also for other tests.
        for name in SECRETS:
            project.command("make", "remove-secret", "LOCATION=platform_location", f"NAME={name}")


@pytest.fixture
def alerts(project: Stack, receiver: Receiver) -> Stack:
    """The stack, whose alerts of team ingestion go to /ingestion, and all others to /default."""
    bridge = json.loads(project.command("docker", "network", "inspect", "bridge"))
    # The address of this machine in that network. An engine that has just started does not show it as the gateway.
    host = ip_network(bridge[0]["IPAM"]["Config"][0]["Subnet"])[1]
    project.start("frequent_evaluations.yaml", DAGSTER_URL="http://ui", ALERTS_GAP_SECONDS="3")

    def store() -> bool:
        url = f"{host}:{receiver.port}"
        lines = f"ingestion=json://{url}/ingestion\ndefault=json://{url}/default\n"
        project.give_secret("platform_location", SECRETS[0], lines)
        project.give_secret("platform_location", SECRETS[1], f"http://{url}/ping")
        return True

    project.once(f"receivers on {receiver.port}", store)
    return project


def told(receiver: Receiver, path: str, *parts: str, seconds: float = 240) -> str:
    """The message at a path that has all of these parts, once there is one."""

    def look() -> str | None:
        texts = [f"{message['title']}\n{message['message']}" for at, message in receiver.by_path if at == path]
        return next((text for text in texts if all(part in text for part in parts)), None)

    return wait_for(f"a message with {parts}", seconds, look)


def test_the_test_message_arrives_everywhere(alerts: Stack, receiver: Receiver) -> None:
    printed = alerts.command("make", "--no-print-directory", "alerts-test")
    assert printed.splitlines() == ["receiver 1 (JSON, ingestion): accepted", "receiver 2 (JSON, default): accepted"]


def test_a_service_that_stops_is_reported_with_the_next_step_and_its_end_too(alerts: Stack, receiver: Receiver) -> None:
    alerts.command("docker", "compose", "stop", "reports")
    told(receiver, "/default", "Needs a person", "reports is exited", "docker compose start reports")
    alerts.command("docker", "compose", "start", "reports")
    told(receiver, "/default", "Over", "reports is exited")


def test_a_lost_run_is_reported_to_its_owner_with_the_reason_and_that_it_will_be_retried(
    alerts: Stack, receiver: Receiver
) -> None:
    with alerts.source_silent():
        run_id = alerts.webserver.launch_month("2023-01-01")
        alerts.webserver.step_started(run_id)
        die(alerts, alerts.run_container(run_id)["Id"])
    assert alerts.webserver.finished(run_id)["status"] == "FAILURE"
    text = told(receiver, "/ingestion", f"http://ui/runs/{run_id}")
    assert "taxi_trips 2023-01-01 in ingestion_location\nDetected run worker status FAILED" in text
    assert "Dagster retries it." in text


def test_the_alerts_are_on_the_status_screen_and_so_is_what_is_silenced(alerts: Stack) -> None:
    alerts.command("make", "silence", "NAME=dbt_location", "FOR=2h")
    receivers = "receiver 1 (JSON, ingestion), receiver 2 (JSON, default)"
    # The next evaluation reads the file of the receivers.
    wait_for("the receivers on the screen", 120, lambda: receivers in alerts.status()[1] or None)
    assert "dbt_location is silenced for another " in alerts.status()[1]
    assert "dbt_location" in alerts.command("make", "alerts")
    alerts.command("make", "unsilence", "NAME=dbt_location")
    assert "dbt_location is silenced" not in alerts.status()[1]


def test_the_dead_mans_switch_is_pinged(alerts: Stack, receiver: Receiver) -> None:
    before = receiver.pings
    wait_for("a ping", 120, lambda: receiver.pings > before or None)


def test_the_alerts_find_what_make_status_finds(alerts: Stack) -> None:
    found = json.loads(alerts.status("FORMAT=json")[1])
    listed = alerts.command("make", "alerts")
    assert [problem["what"] for problem in found["needs_a_person"] if problem["what"] not in listed] == []
