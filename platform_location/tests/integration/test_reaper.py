"""Reaping: what becomes of a run's container, and that what a failed one printed is kept before it goes."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus
from platform_location.docker_api import Docker, DockerError, frames
from platform_location.last_words import MOST_BYTES, attached_containers, fenced, printable
from platform_location.reaper import reap
from platform_location.run_containers import RunContainer, Verdict, judge
from platform_location.settings import Settings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AGES = Settings.model_construct(reap_succeeded_after_seconds=300, reap_failed_after_seconds=86_400)
JOB = dg.GraphDefinition("nightly").to_job()


def inspected(
    run_id: str, name: str = "c", state: str = "exited", seconds_ago: float = 0, **more: Any
) -> dict[str, Any]:
    """A container as Docker describes it, which ended so many seconds ago."""
    ended = f"{NOW - timedelta(seconds=seconds_ago):%Y-%m-%dT%H:%M:%S}.123456789Z"
    status = {"Status": state, "FinishedAt": ended, "ExitCode": 1, "OOMKilled": False, "Error": "", **more}
    if state == "created":
        status["FinishedAt"] = "0001-01-01T00:00:00Z"
    return {"Id": name, "Created": ended, "Config": {"Labels": {"dagster/run_id": run_id}}, "State": status}


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
    assert judge(container(seconds_ago=seconds_ago), status, AGES, NOW) is verdict


@pytest.mark.parametrize(
    "status", [status for status in DagsterRunStatus if status.value not in ("SUCCESS", "FAILURE", "CANCELED")]
)
def test_a_container_whose_run_has_not_ended_stays_however_old_it_is(status: DagsterRunStatus) -> None:
    assert judge(container(seconds_ago=1e7), status, AGES, NOW) is Verdict.RUN_GOES_ON


@pytest.mark.parametrize("state", ["running", "paused", "restarting", "removing"])
def test_a_container_that_has_not_ended_stays_whatever_its_run_says(state: str) -> None:
    verdicts = {judge(container(state, 1e7), status, AGES, NOW) for status in (None, *DagsterRunStatus)}
    assert verdicts == {Verdict.RUNS, Verdict.LEFT_BEHIND}


def test_a_container_that_never_started_is_as_old_as_its_creation() -> None:
    old, new = container("created", 86_401), container("created", 60)
    assert [judge(each, DagsterRunStatus.FAILURE, AGES, NOW) for each in (old, new)] == [Verdict.REMOVED, Verdict.KEPT]


class Engine(Docker):
    """Answers as an engine does, from memory; tests/stack has the real one behind the real proxy."""

    def __init__(self, *containers: dict[str, Any], printed: bytes = b"") -> None:
        self.there = {each["Id"]: each for each in containers}
        self.printed = printed
        self.refuses_logs: DockerError | None = None

    def containers(self, labels: Any) -> list[dict[str, Any]]:
        assert labels == ["project=mine", "dagster/run_id"]
        return [{**each, "Labels": each["Config"]["Labels"]} for each in self.there.values()]

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
    """A run that ended so."""

    def end(status: DagsterRunStatus) -> str:
        return instance.create_run_for_job(JOB, status=status).run_id

    return end


def last_words(instance: DagsterInstance, run_id: str) -> list[dict[str, Any]]:
    """What is kept with a run of its containers."""
    events = instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT)
    return [
        {name: value.value for name, value in event.get_dagster_event().engine_event_data.metadata.items()}
        for event in events
    ]


def look(instance: DagsterInstance, engine: Engine, known: tuple[str, ...] = (), **more: Any) -> tuple[str, list[str]]:
    return reap(instance, engine, "mine", AGES, NOW, known, **more)


def test_what_a_failed_runs_container_printed_is_kept_as_soon_as_it_is_seen(
    instance: DagsterInstance, ended: Ended
) -> None:
    run_id = ended(DagsterRunStatus.FAILURE)
    engine = Engine(inspected(run_id, ExitCode=137, OOMKilled=True), printed=b"ModuleNotFoundError: no pandas\n")
    said, known = look(instance, engine)
    (kept,) = last_words(instance, run_id)
    assert kept["printed last"] == "```text\nModuleNotFoundError: no pandas\n```"
    assert (kept["exit code"], kept["out of memory"], kept["container"]) == (137, True, "c")
    assert (said, known) == ("1 run container: 1 kept, 1 new with what it printed last kept", ["c"])


@pytest.mark.parametrize("status", [DagsterRunStatus.SUCCESS, DagsterRunStatus.STARTED])
def test_nothing_is_kept_of_a_run_that_succeeded_or_goes_on(
    instance: DagsterInstance, ended: Ended, status: DagsterRunStatus
) -> None:
    run_id = ended(status)
    look(instance, Engine(inspected(run_id), printed=b"fine"))
    assert last_words(instance, run_id) == []


@pytest.mark.parametrize("remembered", [True, False])
def test_it_is_kept_once_whether_the_sensor_remembers_it_or_not(
    instance: DagsterInstance, ended: Ended, remembered: bool
) -> None:
    run_id = ended(DagsterRunStatus.CANCELED)
    engine = Engine(inspected(run_id), printed=b"stopped")
    _, known = look(instance, engine)
    look(instance, engine, tuple(known) if remembered else ())
    assert len(last_words(instance, run_id)) == 1


def test_each_container_of_a_run_has_its_own_last_words(instance: DagsterInstance, ended: Ended) -> None:
    run_id = ended(DagsterRunStatus.FAILURE)
    look(instance, Engine(inspected(run_id, "first"), inspected(run_id, "second"), printed=b"x"))
    assert attached_containers(instance, run_id) == {"first", "second"}


@pytest.mark.parametrize("status", [0, 503])
def test_an_old_failed_container_goes_only_after_its_last_words_are_kept(
    instance: DagsterInstance, ended: Ended, status: int
) -> None:
    run_id = ended(DagsterRunStatus.FAILURE)
    engine = Engine(inspected(run_id, seconds_ago=90_000), printed=b"x")
    engine.refuses_logs = DockerError("the engine is away", status)
    with pytest.raises(DockerError, match="the engine is away"):
        look(instance, engine)
    assert list(engine.there) == ["c"]
    engine.refuses_logs = None
    look(instance, engine)
    assert (list(engine.there), len(last_words(instance, run_id))) == ([], 1)


def test_a_container_whose_log_docker_does_not_give_back_goes_all_the_same_and_the_run_says_so(
    instance: DagsterInstance, ended: Ended
) -> None:
    run_id = ended(DagsterRunStatus.FAILURE)
    engine = Engine(inspected(run_id, seconds_ago=90_000))
    engine.refuses_logs = DockerError("configured logging driver does not support reading", 501)
    look(instance, engine)
    assert engine.there == {}
    assert "does not support reading" in last_words(instance, run_id)[0]["printed last"]


def test_only_what_has_its_age_goes_and_the_tick_counts_it(instance: DagsterInstance, ended: Ended) -> None:
    engine = Engine(
        inspected(ended(DagsterRunStatus.SUCCESS), "old success", seconds_ago=400),
        inspected(ended(DagsterRunStatus.SUCCESS), "new success", seconds_ago=10),
        inspected("deleted", "old unknown", seconds_ago=90_000),
        inspected("deleted", "new unknown", seconds_ago=400),
        inspected(ended(DagsterRunStatus.STARTED), "running", state="running"),
        inspected(ended(DagsterRunStatus.STARTED), "lost", seconds_ago=90_000),
        inspected(ended(DagsterRunStatus.FAILURE), "left behind", state="running"),
    )
    said, _ = look(instance, engine)
    assert set(engine.there) == {"new success", "new unknown", "running", "lost", "left behind"}
    assert said == (
        "7 run containers: 1 ended before its run did, 2 kept, 2 removed, 1 running, "
        "1 running on after the end of its run"
    )


def test_a_look_whose_time_is_up_leaves_the_rest_to_the_next_one(instance: DagsterInstance) -> None:
    said, _ = look(instance, Engine(inspected("deleted", seconds_ago=90_000)), budget=-1)
    assert said == "1 run container: 1 left to the next tick"


def test_a_container_that_someone_else_removes_meanwhile_is_no_error(instance: DagsterInstance) -> None:
    class Gone(Engine):
        def remove(self, container: str) -> None:
            raise DockerError("No such container", 404)

    said, _ = look(instance, Gone(inspected("deleted", seconds_ago=90_000)))
    assert said == "1 run container: 1 gone meanwhile"


def test_a_container_that_docker_does_not_let_go_of_does_not_keep_the_others(instance: DagsterInstance) -> None:
    class Stuck(Engine):
        def remove(self, container: str) -> None:
            if container == "stuck":
                raise DockerError("device or resource busy", 500)
            super().remove(container)

    engine = Stuck(inspected("deleted", "stuck", seconds_ago=90_000), inspected("deleted", "c", seconds_ago=90_000))
    said, _ = look(instance, engine)
    assert list(engine.there) == ["stuck"]
    assert said == "2 run containers: 1 refused by Docker (device or resource busy), 1 removed"


def test_without_any_container_the_tick_says_so(instance: DagsterInstance) -> None:
    assert look(instance, Engine()) == ("no run containers", [])


def test_a_long_output_is_cut_at_a_lines_start_and_keeps_its_end() -> None:
    text = printable("".join(f"line {n} über\n" for n in range(5_000)).encode())
    assert len(text.encode()) <= MOST_BYTES
    assert (re.fullmatch(r"line \d+ über", text.splitlines()[0]) is not None, text.splitlines()[-1]) == (
        True,
        "line 4999 über",
    )


def test_one_endless_line_is_kept_by_its_end() -> None:
    assert printable(b"x" * 50_000 + b"the end") == "x" * (MOST_BYTES - 7) + "the end"


def test_colors_and_what_postgres_cannot_store_are_left_out() -> None:
    assert printable(b"\x1b[31mred\x1b[0m \x00\xff!\n") == "red \ufffd!"


def test_output_that_contains_fences_does_not_end_its_block() -> None:
    assert fenced("```\nx") == "````text\n```\nx\n````"


def test_the_frames_of_a_log_are_put_together_in_their_order() -> None:
    stream = b"\x01\0\0\0\0\0\0\x04out\n" + b"\x02\0\0\0\0\0\0\x04err\n" + b"\x01\0\0"
    assert b"".join(frames(stream)) == b"out\nerr\n"


@pytest.mark.parametrize("address", ["", "unix:///var/run/docker.sock", "tcp://docker-proxy"])
def test_an_address_that_is_no_tcp_address_is_refused_with_the_settings_name(address: str) -> None:
    with pytest.raises(
        DockerError, match=r"^DOCKER_HOST='.*' is not an address\. It looks like tcp://docker-proxy:2376"
    ):
        Docker.from_env({"DOCKER_HOST": address})


def test_a_proxy_that_is_away_is_named() -> None:
    with pytest.raises(DockerError, match=r"127\.0\.0\.1:1 is silent .*service docker-proxy") as problem:
        Docker("tcp://127.0.0.1:1").containers([])
    assert problem.value.status == 0
