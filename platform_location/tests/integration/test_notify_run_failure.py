"""Someone is told of every run that fails, at least once: what, why, and whether it is launched again."""

import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterInstance
from integration.receiver import Receiver, receiving
from integration.runs import BAD_DAY, run, run_range
from platform_location.notifier import JsonWebhook, NotDelivered
from platform_location.notify_run_failure import GIVE_UP_SECONDS, MOST_WAITING, State, Told, notify_run_failure, tell
from platform_location.run_failure import LONGEST_REASON, RunFailure

URL = "https://dagster.example"
START = State(after=0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def webhook(receiver: Receiver, timeout: float = 5) -> JsonWebhook:
    return JsonWebhook(f"http://127.0.0.1:{receiver.port}/hook?token=secret", timeout=timeout)


def look(instance: DagsterInstance, receiver: Receiver, state: State = START, later: float = 0) -> Told:
    return tell(instance, webhook(receiver, timeout=1), state, URL, time.time() + later)


def test_a_failed_run_is_told_with_all_that_there_is_to_say(instance: DagsterInstance, receiver: Receiver) -> None:
    run_id = run(instance, "trips", partition=BAD_DAY)
    told = look(instance, receiver)
    assert [run.run_id for run in told.delivered] == [run_id]
    (message,) = receiver.got
    record = instance.get_run_record_by_id(run_id)
    assert record is not None
    assert record.end_time is not None
    failed_at = dg.TimestampMetadataValue(record.end_time)
    assert abs(time.mktime(time.strptime(message.pop("failed_at"), "%Y-%m-%dT%H:%M:%S+00:00")) - failed_at.value) < 2
    assert message == {
        "run_id": run_id,
        "url": f"{URL}/runs/{run_id}",
        "job": "__ephemeral_asset_job__",
        "location": None,
        "assets": ["trips"],
        "partition": BAD_DAY,
        "partition_range": None,
        "failed_step": "trips",
        "reason": f"{BAD_DAY} has no trips",
        "will_retry": False,
        "retry_number": 0,
        "text": f"Run failed: trips [{BAD_DAY}]\n{BAD_DAY} has no trips\nIt is not launched again by itself.\n"
        f"{URL}/runs/{run_id}",
    }
    assert receiver.content_types == ["application/json"]


def test_a_range_is_told_by_its_first_and_last_partition(instance: DagsterInstance, receiver: Receiver) -> None:
    run_range(instance, "2023-01-02", "2023-01-04")
    look(instance, receiver)
    assert receiver.got[0]["partition_range"] == ["2023-01-02", "2023-01-04"]
    assert receiver.got[0]["text"].startswith("Run failed: trips [2023-01-02 to 2023-01-04]\n")


def test_an_error_that_a_step_raised_is_told_without_dagsters_wrapping_and_trimmed(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run(instance, "broken")
    look(instance, receiver)
    reason = receiver.got[0]["reason"]
    assert (reason.startswith("ValueError: the answer is 42!"), len(reason), reason[-1]) == (True, LONGEST_REASON, "…")


NIGHTLY = dg.GraphDefinition("nightly").to_job()


def lose(instance: DagsterInstance, message: str, retry_of: str | None = None, retry_number: int = 0) -> str:
    """A run whose container died, as the run monitoring reports it."""
    lost = instance.create_run_for_job(
        NIGHTLY,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/retry_number": f"{retry_number}", "dagster/root_run_id": retry_of} if retry_of else {},
        parent_run_id=retry_of,
        root_run_id=retry_of,
    )
    instance.report_run_failed(lost, message)
    return lost.run_id


def test_a_lost_run_is_told_with_what_the_monitoring_said_and_that_it_is_launched_again(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    lose(instance, "Detected run worker status FAILED: 'Container status is exited.'. Marking run as failed.")
    look(instance, receiver)
    (message,) = receiver.got
    assert message["failed_step"] is None
    assert message["reason"].startswith("Detected run worker status FAILED: 'Container status is exited.'")
    assert (message["will_retry"], message["retry_number"]) == (True, 0)
    assert "It is launched again by itself." in message["text"]


def test_the_last_retry_is_told_as_one_that_is_not_launched_again(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    root = lose(instance, "lost")
    lose(instance, "lost again", retry_of=root, retry_number=1)
    lose(instance, "lost a third time", retry_of=root, retry_number=2)
    look(instance, receiver)
    assert [(message["retry_number"], message["will_retry"]) for message in receiver.got] == [
        (0, True),
        (1, True),
        (2, False),
    ]
    assert receiver.got[-1]["text"].startswith("Run failed (retry 2): nightly\n")


def test_a_failure_on_which_dagster_has_not_decided_yet_waits_for_the_decision(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_id = lose(instance, "lost")
    # As between the two writes of Dagster: the failure is stored, the decision is not.
    instance.run_storage.delete_run(run_id)
    undecided = instance.create_run_for_job(NIGHTLY, run_id=run_id)
    assert "dagster/will_retry" not in undecided.tags
    told = look(instance, receiver)
    assert (told.state.waiting, receiver.got) == ((run_id,), [])
    instance.add_run_tags(run_id, {"dagster/will_retry": "true"})
    assert [run.run_id for run in look(instance, receiver, told.state).delivered] == [run_id]
    assert receiver.got[0]["will_retry"]


def test_a_decision_that_never_comes_does_not_hold_a_notification_up_for_ever(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_id = lose(instance, "lost")
    instance.run_storage.delete_run(run_id)
    instance.create_run_for_job(NIGHTLY, run_id=run_id)
    assert [run.run_id for run in look(instance, receiver, later=120).delivered] == [run_id]


def test_runs_that_succeed_or_are_canceled_are_not_told(instance: DagsterInstance, receiver: Receiver) -> None:
    run(instance, "trips", partition="2023-01-01")
    canceled = instance.create_run_for_job(NIGHTLY)
    instance.report_run_canceled(canceled)
    look(instance, receiver)
    assert receiver.got == []


def test_a_run_is_told_once_in_however_many_looks(instance: DagsterInstance, receiver: Receiver) -> None:
    run(instance, "broken")
    told = look(instance, receiver)
    assert look(instance, receiver, told.state).delivered == []
    assert len(receiver.got) == 1


def test_a_run_whose_failure_is_recorded_twice_is_told_once(instance: DagsterInstance, receiver: Receiver) -> None:
    run_id = run(instance, "broken")
    told = look(instance, receiver)
    failed = instance.get_run_by_id(run_id)
    assert failed is not None
    instance.report_run_failed(failed, "its process ended after all")
    told = look(instance, receiver, told.state)
    assert (told.delivered, len(receiver.got)) == ([], 1)


def test_a_receiver_that_is_away_gets_all_of_it_when_it_is_back(instance: DagsterInstance) -> None:
    run_ids = [run(instance, "broken") for _ in range(2)]
    with receiving() as receiver:
        port = receiver.port
    away = JsonWebhook(f"http://127.0.0.1:{port}")
    told = tell(instance, away, START, URL, time.time())
    assert ([each.run_id for each, _ in told.problems], told.state.waiting) == (run_ids[:1], tuple(run_ids))
    with receiving() as back:
        told = look(instance, back, told.state)
        assert ([message["run_id"] for message in back.got], told.state.waiting) == (run_ids, ())


def test_a_receiver_that_never_answers_costs_one_timeout_and_nothing_is_lost(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_ids = [run(instance, "broken") for _ in range(3)]
    receiver.silent.set()
    begun = time.monotonic()
    told = look(instance, receiver)
    assert time.monotonic() - begun < 2
    assert told.state.waiting == tuple(run_ids)
    receiver.silent.clear()
    look(instance, receiver, told.state)
    assert [message["run_id"] for message in receiver.got] == run_ids


def test_a_notification_that_is_refused_does_not_hold_up_the_others(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_ids = [run(instance, "broken") for _ in range(2)]
    receiver.answers = [500, 200]
    told = look(instance, receiver)
    assert ([each.run_id for each in told.delivered], told.state.waiting) == (run_ids[1:], (run_ids[0],))
    told = look(instance, receiver, told.state)
    assert ([each.run_id for each in told.delivered], told.state.waiting) == (run_ids[:1], ())


def test_a_notification_is_given_up_after_a_day_of_attempts_and_the_problem_says_so(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run(instance, "broken")
    receiver.answers = [404]
    told = look(instance, receiver, later=GIVE_UP_SECONDS + 60)
    ((_, problem),) = told.problems
    assert (problem, told.state.waiting) == (
        f"http://127.0.0.1:{receiver.port} answers 404 Not Found; tried for a day, given up",
        (),
    )


def test_no_more_than_so_many_wait_and_the_rest_stays_in_the_event_log(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_id = run(instance, "broken")
    full = State(0, tuple(f"deleted {n}" for n in range(MOST_WAITING)))
    told = look(instance, receiver, full)
    assert (told.state, receiver.got) == (State(0), [])
    assert [each.run_id for each in look(instance, receiver, told.state).delivered] == [run_id]


def test_a_look_ends_when_its_time_is_up(instance: DagsterInstance, receiver: Receiver) -> None:
    run_ids = [run(instance, "broken") for _ in range(2)]
    told = tell(instance, webhook(receiver), START, URL, time.time(), budget=0)
    assert ([each.run_id for each in told.delivered], told.state.waiting) == (run_ids[:1], (run_ids[1],))


def test_a_redirect_is_no_delivery(receiver: Receiver) -> None:
    receiver.answers = [302]
    failure = RunFailure("1", URL, "job", None, (), None, None, "", None, "", False, 0)
    with pytest.raises(NotDelivered, match="answers 302"):
        webhook(receiver).notify(failure)
    assert len(receiver.got) == 1


def test_a_problem_names_the_receiver_without_the_secret_in_its_url(receiver: Receiver) -> None:
    receiver.answers = [403]
    failure = RunFailure("1", URL, "job", None, (), None, None, "", None, "", False, 0)
    with pytest.raises(NotDelivered) as problem:
        webhook(receiver).notify(failure)
    assert "secret" not in str(problem.value)


def test_a_cursor_is_read_as_it_was_written_and_one_that_cannot_be_read_leaves_the_past_alone() -> None:
    state = State(7, ("a", "b"))
    assert State.from_cursor(state.cursor(), newest=9) == state
    assert [State.from_cursor(cursor, newest=9) for cursor in (None, "", "x", "[]", "{}")] == [State(9)] * 5


def tick(instance: DagsterInstance, cursor: str | None) -> dg.SensorEvaluationContext:
    return dg.build_sensor_context(instance=instance, cursor=cursor)


def test_the_sensor_says_of_whom_nobody_is_told(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_WEBHOOK_URL", raising=False)
    run_id = run(instance, "broken")
    result = notify_run_failure.evaluate_tick(tick(instance, START.cursor()))
    assert result.skip_message == f"failed, and nobody is told since NOTIFY_WEBHOOK_URL is empty: {run_id}"
    assert notify_run_failure.evaluate_tick(tick(instance, result.cursor)).skip_message == "no run failed"


def test_the_sensors_first_tick_leaves_the_past_alone(instance: DagsterInstance, receiver: Receiver) -> None:
    run(instance, "broken")
    result = notify_run_failure.evaluate_tick(tick(instance, None))
    assert (result.skip_message, receiver.got) == ("no run failed", [])


def test_the_sensors_tick_fails_where_something_was_not_delivered_and_keeps_its_cursor(
    instance: DagsterInstance, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = [run(instance, "broken") for _ in range(2)]
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", f"http://127.0.0.1:{receiver.port}")
    receiver.answers = [500, 200]
    result = notify_run_failure.evaluate_tick(tick(instance, START.cursor()))
    delivered, problem = result.dagster_run_reactions or ()
    assert delivered.dagster_run is not None
    assert problem.error is not None
    assert (delivered.dagster_run.run_id, delivered.error) == (run_ids[1], None)
    assert problem.error.message == (
        f"Nobody was told that run {run_ids[0]} failed: http://127.0.0.1:{receiver.port} answers 500 Internal Server "
        "Error; tried again with the next tick.\n"
    )
    assert State.from_cursor(result.cursor, newest=0).waiting == (run_ids[0],)
