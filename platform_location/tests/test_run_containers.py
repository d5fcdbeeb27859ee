"""Decides when a run's container is removed."""

import pytest
from dagster import DagsterRunStatus
from platform_location.run_containers import RunContainer, Verdict, judge
from run_container import NOW, SETTINGS, inspected


def container(state: str = "exited", seconds_ago: float = 0) -> RunContainer:
    return RunContainer.from_inspect(inspected("run", state=state, seconds_ago=seconds_ago))


@pytest.mark.parametrize(
    ("status", "seconds_ago", "verdict"),
    [
        (DagsterRunStatus.SUCCESS, 299, Verdict.KEPT),
        (DagsterRunStatus.SUCCESS, 301, Verdict.REMOVED),
        (DagsterRunStatus.FAILURE, 301, Verdict.KEPT),
        (DagsterRunStatus.FAILURE, 86_401, Verdict.REMOVED),
        (DagsterRunStatus.CANCELED, 86_399, Verdict.KEPT),
        (DagsterRunStatus.CANCELED, 86_401, Verdict.REMOVED),
        (None, 86_399, Verdict.KEPT),
        (None, 86_401, Verdict.REMOVED),
    ],
)
def test_a_container_stays_as_long_as_the_end_of_its_run_says(
    status: DagsterRunStatus | None, seconds_ago: float, verdict: Verdict
) -> None:
    assert judge(container(seconds_ago=seconds_ago), status, SETTINGS, NOW) is verdict


@pytest.mark.parametrize(
    "status", [status for status in DagsterRunStatus if status.value not in ("SUCCESS", "FAILURE", "CANCELED")]
)
def test_a_container_whose_run_has_not_ended_stays_however_old_it_is(status: DagsterRunStatus) -> None:
    assert judge(container(seconds_ago=1e7), status, SETTINGS, NOW) is Verdict.RUN_GOES_ON


@pytest.mark.parametrize("state", ["running", "paused", "restarting", "removing"])
def test_a_container_that_has_not_ended_stays_whatever_its_run_says(state: str) -> None:
    verdicts = {judge(container(state, 1e7), status, SETTINGS, NOW) for status in (None, *DagsterRunStatus)}
    assert verdicts == {Verdict.RUNS, Verdict.LEFT_BEHIND}


def test_a_container_that_never_started_is_as_old_as_its_creation() -> None:
    old, new = container("created", 86_401), container("created", 60)
    assert [judge(each, DagsterRunStatus.FAILURE, SETTINGS, NOW) for each in (old, new)] == [
        Verdict.REMOVED,
        Verdict.KEPT,
    ]
