"""What autoheal restarts and what it leaves alone, on a real engine with throwaway containers."""

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.stack.conftest import PROJECT
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill

# As in autoheal.yaml.
BACKOFF_SECONDS = 2


def docker(*arguments: str) -> str:
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert ended.returncode == 0, f"docker {arguments}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def state(container: str) -> dict[str, Any]:
    inspected: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    return inspected


class Ward:
    """The containers of autoheal.yaml."""

    def compose(self, *arguments: str) -> str:
        project = ("--project-name", f"{PROJECT}-autoheal", "--profile", "hopeless")
        return docker("compose", *project, "--file", str(Path(__file__).with_name("autoheal.yaml")), *arguments)

    def container(self, service: str) -> str:
        return f"{PROJECT}-autoheal-{service}-1"

    def state(self, service: str) -> dict[str, Any]:
        return state(self.container(service))

    def in_container(self, service: str, script: str) -> None:
        docker("exec", self.container(service), "sh", "-ec", script)

    def wait_until(self, service: str, health: str) -> None:
        wait_for(f"{service} to be {health}", 60, lambda: self.state(service)["Health"]["Status"] == health or None)

    def fall_ill(self, service: str) -> str:
        """Makes a service unhealthy and returns when it was started; its next start makes it healthy again."""
        started = str(self.state(service)["StartedAt"])
        self.in_container(service, "touch /ill")
        return started

    def wait_for_restart(self, service: str, started: str) -> None:
        wait_for(f"restart of {service}", 60, lambda: self.state(service)["StartedAt"] != started or None)
        self.wait_until(service, "healthy")

    def log(self) -> str:
        return docker("logs", self.container("autoheal"))


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    ward = Ward()
    try:
        ward.compose("up", "--detach", "--build", "--wait", "autoheal", "database", "labelled", "needing", "unlabelled")
        yield ward
    finally:
        ward.compose("down", "--volumes", "--timeout", "0", "--rmi", "local")


def test_what_is_unhealthy_and_does_not_hear_a_sigterm_is_restarted(ward: Ward) -> None:
    started = ward.fall_ill("labelled")
    ward.wait_for_restart("labelled", started)
    said = r"Container \S+labelled\S+ \([0-9a-f]{12}\) found to be unhealthy - Restarting container now with 1s timeout"
    assert re.search(said, ward.log())


def test_what_has_no_label_and_what_is_of_another_project_are_left_alone(ward: Ward) -> None:
    unlabelled = ward.fall_ill("unlabelled")
    health = ("--health-cmd", "false", "--health-interval", "1s", "--health-retries", "1")
    labels = ("--label", "autoheal=true", "--label", f"com.docker.compose.project={PROJECT}-other")
    stranger = docker(
        *("run", "--detach", "--network", "none", *labels, *health, "debian:trixie-slim", "sleep", "infinity")
    ).strip()
    try:
        before = state(stranger)["StartedAt"]
        ward.wait_until("unlabelled", "unhealthy")
        wait_for("the stranger's illness", 60, lambda: state(stranger)["Health"]["Status"] == "unhealthy" or None)
        # One that fell ill later was restarted, so these would have been.
        ward.wait_for_restart("labelled", ward.fall_ill("labelled"))
        assert (ward.state("unlabelled")["StartedAt"], state(stranger)["StartedAt"]) == (unlabelled, before)
    finally:
        docker("rm", "--force", stranger)
        ward.in_container("unlabelled", "rm /ill")


def test_what_needs_a_service_is_left_alone_while_that_is_ill_and_until_its_own_check_has_looked_again(
    ward: Ward,
) -> None:
    ward.fall_ill("database")
    ward.wait_until("database", "unhealthy")
    started = ward.fall_ill("needing")
    wait_for("the reason", 60, lambda: "Left alone until database is healthy" in ward.log() or None)
    # One that fell ill later was restarted, so this one would have been.
    ward.wait_for_restart("labelled", ward.fall_ill("labelled"))
    ward.in_container("database", "rm /ill")
    ward.wait_until("database", "healthy")
    ward.in_container("needing", "rm /ill")
    ward.wait_until("needing", "healthy")
    assert ward.state("needing")["StartedAt"] == started


def test_what_needs_a_service_is_restarted_where_that_is_healthy(ward: Ward) -> None:
    ward.wait_for_restart("needing", ward.fall_ill("needing"))


def test_what_no_restart_heals_is_restarted_after_twice_as_long_every_time(ward: Ward) -> None:
    ward.compose("up", "--detach", "hopeless")

    def look() -> list[datetime] | None:
        times = re.findall(r"(?m)^(\S+) Container \S+hopeless\S+ .* Restarting", ward.log())
        return [datetime.fromisoformat(time) for time in times] if len(times) >= 3 else None

    first, second, third = wait_for("three restarts", 60, look)[:3]
    ward.compose("rm", "--force", "--stop", "hopeless")
    waits = [(second - first).total_seconds(), (third - second).total_seconds()]
    assert waits[0] >= BACKOFF_SECONDS
    assert waits[1] >= 2 * BACKOFF_SECONDS


def freeze(ward: Ward, service: str) -> str:
    """Stops all processes of a service but its init; returns when it was started."""
    started = str(ward.state(service)["StartedAt"])
    ward.in_container(service, "kill -s STOP -- -1")
    return started


def test_a_proxy_that_hangs_ends_itself_and_autoheal_goes_on(ward: Ward) -> None:
    started = freeze(ward, "docker-proxy")
    # The way to Docker is gone, and comes back.
    ill = ward.fall_ill("labelled")
    ward.wait_for_restart("docker-proxy", started)
    ward.wait_for_restart("labelled", ill)


def test_an_autoheal_that_hangs_ends_itself(ward: Ward) -> None:
    started = freeze(ward, "autoheal")
    ward.in_container("autoheal", "touch --date '1 hour ago' /tmp/alive")
    ward.wait_for_restart("autoheal", started)
