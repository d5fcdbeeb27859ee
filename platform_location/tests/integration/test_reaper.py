"""The reaper removes containers of ended runs, and stores the output of a failed one before it removes it."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus
from platform_location.container_logs import stored_containers
from platform_location.defs.reaper import reap
from platform_location.docker_api import Docker, DockerError
from run_container import NOW, SETTINGS, inspected

JOB = dg.GraphDefinition("nightly").to_job()


class Engine(Docker):
    """Answers as an engine does, from memory; tests/stack has the real one behind the real proxy."""

    def __init__(self, *containers: dict[str, Any], printed: bytes = b"") -> None:
        self.there = {each["Name"].removeprefix("/"): each for each in containers}
        self.printed = printed
        self.refuses_logs: DockerError | None = None

    def containers(self, labels: Any) -> list[dict[str, Any]]:
        assert labels == ["project=mine", "dagster/run_id"]
        return [{**each, "Names": [each["Name"]], "Labels": each["Config"]["Labels"]} for each in self.there.values()]

    def inspect(self, container: str) -> dict[str, Any]:
        return self.there[container]

    def tail(self, container: str, lines: int) -> bytes:
        if self.refuses_logs:
            raise self.refuses_logs
        return self.printed

    def remove(self, container: str) -> None:
        if self.there[container]["State"]["Status"] == "running":
            raise DockerError("You cannot remove a running container", 409)
        del self.there[container]


Ended = Callable[[DagsterRunStatus], str]


@pytest.fixture
def ended(instance: DagsterInstance) -> Ended:
    """Creates a run with a status and returns its id."""

    def end(status: DagsterRunStatus) -> str:
        return instance.create_run_for_job(JOB, status=status).run_id

    return end


def stored_output(instance: DagsterInstance, run_id: str) -> list[dict[str, Any]]:
    """The metadata of a run's events that store its containers' output."""
    events = instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT)
    return [
        {name: value.value for name, value in event.get_dagster_event().engine_event_data.metadata.items()}
        for event in events
    ]


def reap_once(
    instance: DagsterInstance, engine: Engine, known: tuple[str, ...] = (), **more: Any
) -> tuple[str, list[str]]:
    return reap(instance, engine, "mine", SETTINGS, NOW, known, **more)


def test_the_output_of_a_failed_runs_container_is_stored_by_the_first_tick_that_sees_it(
    instance: DagsterInstance, ended: Ended
) -> None:
    run_id = ended(DagsterRunStatus.FAILURE)
    engine = Engine(inspected(run_id, ExitCode=137, OOMKilled=True), printed=b"ModuleNotFoundError: no pandas\n")
    said, known = reap_once(instance, engine)
    (kept,) = stored_output(instance, run_id)
    assert kept["last output"] == "```text\nModuleNotFoundError: no pandas\n```"
    assert (kept["exit code"], kept["out of memory"], kept["container"]) == (137, True, "c")
    killed = "exit code 137, killed: out of memory (limit 2048 MB, setting RUN_MEMORY_LIMIT)"
    assert any(killed in event.message for event in instance.all_logs(run_id))
    assert (said, known) == ("1 run container: 1 kept, 1 whose output was stored", ["c"])


@pytest.mark.parametrize("status", [DagsterRunStatus.SUCCESS, DagsterRunStatus.STARTED])
def test_no_output_is_stored_of_a_run_that_succeeded_or_goes_on(
    instance: DagsterInstance, ended: Ended, status: DagsterRunStatus
) -> None:
    run_id = ended(status)
    reap_once(instance, Engine(inspected(run_id), printed=b"fine"))
    assert stored_output(instance, run_id) == []


@pytest.mark.parametrize("remembered", [True, False])
def test_output_is_stored_once_whether_the_sensor_remembers_it_or_not(
    instance: DagsterInstance, ended: Ended, remembered: bool
) -> None:
    run_id = ended(DagsterRunStatus.CANCELED)
    engine = Engine(inspected(run_id), printed=b"stopped")
    _, known = reap_once(instance, engine)
    reap_once(instance, engine, tuple(known) if remembered else ())
    assert len(stored_output(instance, run_id)) == 1


def test_the_output_of_each_container_of_a_run_is_stored(instance: DagsterInstance, ended: Ended) -> None:
    run_id = ended(DagsterRunStatus.FAILURE)
    reap_once(instance, Engine(inspected(run_id, "first"), printed=b"x"))
    reap_once(instance, Engine(inspected(run_id, "second"), printed=b"x"))
    assert stored_containers(instance, run_id) == {"first", "second"}


@pytest.mark.parametrize("status", [0, 503])
def test_an_old_failed_container_is_removed_only_after_its_output_is_stored(
    instance: DagsterInstance, ended: Ended, status: int
) -> None:
    run_id = ended(DagsterRunStatus.FAILURE)
    engine = Engine(inspected(run_id, seconds_ago=90_000), printed=b"x")
    engine.refuses_logs = DockerError("the engine is away", status)
    with pytest.raises(DockerError, match="the engine is away"):
        reap_once(instance, engine)
    assert list(engine.there) == [f"mine-run-{run_id}"]
    engine.refuses_logs = None
    reap_once(instance, engine)
    assert (list(engine.there), len(stored_output(instance, run_id))) == ([], 1)


def test_a_container_whose_log_docker_cannot_read_is_removed_all_the_same_and_the_run_says_so(
    instance: DagsterInstance, ended: Ended
) -> None:
    run_id = ended(DagsterRunStatus.FAILURE)
    engine = Engine(inspected(run_id, seconds_ago=90_000))
    engine.refuses_logs = DockerError("configured logging driver does not support reading", 501)
    reap_once(instance, engine)
    assert engine.there == {}
    assert "does not support reading" in stored_output(instance, run_id)[0]["last output"]


def test_only_containers_that_are_old_enough_are_removed_and_the_tick_counts_them(
    instance: DagsterInstance, ended: Ended
) -> None:
    engine = Engine(
        inspected(ended(DagsterRunStatus.SUCCESS), "old success", seconds_ago=400),
        inspected(ended(DagsterRunStatus.SUCCESS), "new success", seconds_ago=10),
        inspected("deleted long ago", "old unknown", seconds_ago=90_000),
        inspected("just deleted", "new unknown", seconds_ago=400),
        inspected(ended(DagsterRunStatus.STARTED), "running", state="running"),
        inspected(ended(DagsterRunStatus.STARTED), "lost", seconds_ago=90_000),
        inspected(ended(DagsterRunStatus.FAILURE), "left behind", state="running"),
    )
    said, _ = reap_once(instance, engine)
    left = {each["Id"] for each in engine.there.values()}
    assert left == {"new success", "new unknown", "running", "lost", "left behind"}
    assert said == (
        "7 run containers: 1 ended before its run did, 2 kept, 2 removed, 1 running, "
        "1 still running after the end of its run"
    )


def test_a_tick_whose_time_is_up_leaves_the_rest_to_the_next_one(instance: DagsterInstance) -> None:
    said, _ = reap_once(instance, Engine(inspected("deleted", seconds_ago=90_000)), budget=-1)
    assert said == "1 run container: 1 left to the next tick"


def test_a_container_that_someone_else_removed_is_no_error(instance: DagsterInstance) -> None:
    class Gone(Engine):
        def remove(self, container: str) -> None:
            raise DockerError("No such container", 404)

    said, _ = reap_once(instance, Gone(inspected("deleted", seconds_ago=90_000)))
    assert said == "1 run container: 1 already gone"


def test_a_container_that_docker_refuses_to_remove_does_not_hold_up_the_others(instance: DagsterInstance) -> None:
    class Stuck(Engine):
        def remove(self, container: str) -> None:
            if container == "mine-run-stuck":
                raise DockerError("device or resource busy", 500)
            super().remove(container)

    engine = Stuck(inspected("stuck", seconds_ago=90_000), inspected("deleted", seconds_ago=90_000))
    said, _ = reap_once(instance, engine)
    assert list(engine.there) == ["mine-run-stuck"]
    assert said == "2 run containers: 1 refused by Docker (device or resource busy), 1 removed"


def test_a_container_that_is_not_named_after_its_run_is_left_and_the_tick_says_where_to_read_on(
    instance: DagsterInstance,
) -> None:
    engine = Engine(inspected("deleted", seconds_ago=90_000) | {"Name": "/eager_bell"})
    said, _ = reap_once(instance, engine)
    assert list(engine.there) == ["eager_bell"]
    assert said == (
        "1 run container: 1 left, as a launcher without run policies created it "
        "(docs/upgrading.md says how to remove it)"
    )


def test_without_any_container_the_tick_says_so(instance: DagsterInstance) -> None:
    assert reap_once(instance, Engine()) == ("no run containers", [])
