"""When a failing health check ends its container: the script of services/health.yaml, in throwaway containers."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
import yaml

from ops.command import ROOT

CHECK = yaml.safe_load((ROOT / "services/health.yaml").read_text())["x-check"].replace("$$", "$")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def container() -> Iterator[str]:
    """A container as confined as a gateway's, whose one process does nothing."""
    confined = ("--network", "none", "--user", "1000", "--read-only", "--cap-drop", "ALL")
    name = docker("run", "--detach", "--init", *confined, "debian:trixie-slim", "sleep", "infinity")
    yield name
    docker("rm", "--force", name)


@pytest.fixture
def running_after(container: str) -> Callable[[str, int], bool]:
    def check(command: str, start_seconds: int) -> bool:
        """Checks with a command and says whether the container runs afterwards."""
        settings = (
            "HEALTHCHECK_ATTEMPTS=2",
            "HEALTHCHECK_PAUSE_SECONDS=0",
            f"HEALTHCHECK_START_SECONDS={start_seconds}",
        )
        given = [argument for setting in settings for argument in ("--env", setting)]
        subprocess.run(["docker", "exec", *given, container, "bash", "-c", CHECK, "check", "bash", "-c", command])
        return docker("inspect", "--format", "{{.State.Running}}", container) == "true"

    return check


def test_a_check_that_keeps_failing_ends_the_container_and_says_so(
    container: str, running_after: Callable[[str, int], bool]
) -> None:
    running_after("exit 1", 0)
    subprocess.run(["docker", "wait", container], capture_output=True, check=True, timeout=60)
    log = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True).stderr
    assert "The health check failed 2 times in a row. The container is restarted." in log


def test_a_check_that_succeeds_at_its_last_attempt_ends_nothing(running_after: Callable[[str, int], bool]) -> None:
    assert running_after("[[ -e /dev/shm/second ]] || ! touch /dev/shm/second", 0)


def test_a_failure_whose_cause_is_elsewhere_ends_nothing(running_after: Callable[[str, int], bool]) -> None:
    assert running_after("exit 3", 0)


def test_a_container_that_was_started_lately_is_not_ended(running_after: Callable[[str, int], bool]) -> None:
    assert running_after("exit 1", 300)
