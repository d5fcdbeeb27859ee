"""How long a health check lasts and when it ends its container: services/health.yaml, in throwaway containers."""

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
import yaml

from ops.command import ROOT
from tests.stack.webserver import wait_for

CHECK = yaml.safe_load((ROOT / "services/health.yaml").read_text())["x-check"].replace("$$", "$")
# Succeeds until there is a file /tmp/broken.
ASK = "echo >>/tmp/asked; [[ ! -e /tmp/broken ]]"


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def container() -> Iterator[str]:
    """A container as confined as a gateway's, whose one process does nothing."""
    confined = ("--network", "none", "--user", "1000", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
    name = docker("run", "--detach", "--init", *confined, "debian:trixie-slim", "sleep", "infinity")
    yield name
    docker("rm", "--force", name)


def check(container: str, command: str, start_seconds: int = 0) -> subprocess.Popen[bytes]:
    """Starts a health check with a command."""
    settings = {
        "HEALTHCHECK_ATTEMPTS": 2,
        "HEALTHCHECK_INTERVAL_SECONDS": 0,
        "HEALTHCHECK_PAUSE_SECONDS": 0,
        "HEALTHCHECK_START_SECONDS": start_seconds,
    }
    given = [argument for name, value in settings.items() for argument in ("--env", f"{name}={value}")]
    return subprocess.Popen(["docker", "exec", *given, container, "bash", "-c", CHECK, "check", "bash", "-c", command])


@pytest.fixture
def running_after(container: str) -> Callable[[str, int], bool]:
    def running(command: str, start_seconds: int) -> bool:
        """Checks with a command and says whether the container runs afterwards."""
        check(container, command, start_seconds).wait()
        return docker("inspect", "--format", "{{.State.Running}}", container) == "true"

    return running


def test_a_check_that_keeps_failing_ends_the_container_and_says_so(
    container: str, running_after: Callable[[str, int], bool]
) -> None:
    running_after("exit 1", 0)
    subprocess.run(["docker", "wait", container], capture_output=True, check=True, timeout=180)
    log = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True).stderr
    assert "The health check failed 2 times in a row. The container is restarted." in log


def test_a_check_that_succeeds_at_its_last_attempt_ends_nothing(running_after: Callable[[str, int], bool]) -> None:
    assert running_after("[[ -e /dev/shm/second ]] || ! touch /dev/shm/second", 0)


def test_a_failure_whose_cause_is_elsewhere_ends_nothing(running_after: Callable[[str, int], bool]) -> None:
    assert running_after("exit 3", 0)


def test_a_container_that_was_started_lately_is_not_ended(running_after: Callable[[str, int], bool]) -> None:
    assert running_after("exit 1", 300)


def times_asked(container: str) -> int:
    return int(docker("exec", container, "sh", "-c", "cat /tmp/asked 2>/dev/null | wc -l"))


@pytest.mark.parametrize("last_success", [None, 0])
def test_a_container_that_was_not_just_healthy_is_healthy_at_the_first_success(
    container: str, last_success: int | None
) -> None:
    if last_success is not None:
        docker("exec", container, "sh", "-c", f"echo {last_success} >/tmp/healthy")
    assert check(container, ASK).wait() == 0
    assert times_asked(container) == 1


def test_the_check_of_a_healthy_container_lasts_until_its_command_fails(container: str) -> None:
    # As a check does that ends well.
    docker("exec", container, "sh", "-c", f"echo {int(time.time()) + 60} >/tmp/healthy")
    # The cause is elsewhere, so that the container is not ended.
    lasting = check(container, f"{ASK} || exit 3")
    wait_for("several questions", 60, lambda: times_asked(container) > 3 or None)
    docker("exec", container, "touch", "/tmp/broken")
    assert lasting.wait(timeout=120) == 1
