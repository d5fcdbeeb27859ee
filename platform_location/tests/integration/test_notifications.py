"""Someone is notified of every run that fails, at least once: what, why, and whether Dagster retries it."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from integration.receiver import Receiver, receiving
from integration.runs import BAD_DAY, run, run_range
from platform_location.defs.notifications import (
    GIVE_UP_SECONDS,
    MOST_WAITING,
    NotificationResult,
    State,
    notify,
    notify_run_failure,
)
from platform_location.run_failure import LONGEST_REASON, RunFailure
from platform_location.webhook import DeliveryError, JsonWebhook

URL = "https://dagster.example"
START = State(after=0)
FAILURE = RunFailure("1", URL, "job", None, (), None, None, "", None, "", False, 0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def webhook(receiver: Receiver, timeout: float = 5) -> JsonWebhook:
    return JsonWebhook(f"http://127.0.0.1:{receiver.port}/hook?token=secret", timeout=timeout)


def notify_once(
    instance: DagsterInstance, receiver: Receiver, state: State = START, later: float = 0
) -> NotificationResult:
    return notify(instance, webhook(receiver, timeout=1), state, URL, time.time() + later)


def test_a_notification_describes_the_failed_run(instance: DagsterInstance, receiver: Receiver) -> None:
    run_id = run(instance, "trips", partition=BAD_DAY)
    result = notify_once(instance, receiver)
    assert [run.run_id for run in result.delivered] == [run_id]
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
        "text": f"Run failed: trips [{BAD_DAY}]\n{BAD_DAY} has no trips\nDagster does not retry it.\n"
        f"{URL}/runs/{run_id}",
    }
    assert receiver.content_types == ["application/json"]


@pytest.mark.parametrize("text", ["no JSON", '{"__class__": "Unknown"}', "{}"])
def test_a_failure_that_dagster_cannot_read_is_notified_and_holds_up_no_other(
    instance: DagsterInstance, receiver: Receiver, text: str
) -> None:
    unreadable, readable = run(instance, "trips", partition=BAD_DAY), run(instance, "broken")
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    with storage.index_connection() as connection:
        failures = DagsterEventType.STEP_FAILURE.value, DagsterEventType.RUN_FAILURE.value
        written = Events.c.run_id == unreadable, Events.c.dagster_event_type.in_(failures)
        assert connection.execute(sa.update(Events).where(*written).values(event=text)).rowcount == 2
    result = notify_once(instance, receiver)
    assert [run.run_id for run in result.delivered] == [unreadable, readable]
    assert (receiver.got[0]["assets"], receiver.got[0]["failed_step"]) == (["trips"], None)
    assert re.match(r"The event \d+, which says why, cannot be read: ", receiver.got[0]["reason"])


def test_a_notification_names_a_range_by_its_first_and_last_partition(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_range(instance, "2023-01-02", "2023-01-04")
    notify_once(instance, receiver)
    assert receiver.got[0]["partition_range"] == ["2023-01-02", "2023-01-04"]
    assert receiver.got[0]["text"].startswith("Run failed: trips [2023-01-02 to 2023-01-04]\n")


def test_a_notification_has_the_error_that_a_step_raised_trimmed_and_without_dagsters_wrapping(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run(instance, "broken")
    notify_once(instance, receiver)
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


def test_the_notification_of_a_lost_run_has_the_message_of_run_monitoring_and_that_dagster_retries_it(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    lose(instance, "Detected run worker status FAILED: 'Container status is exited.'. Marking run as failed.")
    notify_once(instance, receiver)
    (message,) = receiver.got
    assert message["failed_step"] is None
    assert message["reason"].startswith("Detected run worker status FAILED: 'Container status is exited.'")
    assert (message["will_retry"], message["retry_number"]) == (True, 0)
    assert "Dagster retries it." in message["text"]


def test_the_notification_of_the_last_retry_says_that_dagster_does_not_retry_it(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    root = lose(instance, "lost")
    lose(instance, "lost again", retry_of=root, retry_number=1)
    lose(instance, "lost a third time", retry_of=root, retry_number=2)
    notify_once(instance, receiver)
    assert [(message["retry_number"], message["will_retry"]) for message in receiver.got] == [
        (0, True),
        (1, True),
        (2, False),
    ]
    assert receiver.got[-1]["text"].startswith("Run failed (retry 2): nightly\n")


def test_a_failure_whose_retry_dagster_has_not_decided_waits_for_the_decision(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_id = lose(instance, "lost")
    # As between the two writes of Dagster: the failure is stored, the decision is not.
    instance.run_storage.delete_run(run_id)
    undecided = instance.create_run_for_job(NIGHTLY, run_id=run_id)
    assert "dagster/will_retry" not in undecided.tags
    result = notify_once(instance, receiver)
    assert (result.state.waiting, receiver.got) == ((run_id,), [])
    instance.add_run_tags(run_id, {"dagster/will_retry": "true"})
    assert [run.run_id for run in notify_once(instance, receiver, result.state).delivered] == [run_id]
    assert receiver.got[0]["will_retry"]


def test_a_decision_that_never_comes_does_not_hold_a_notification_up_for_ever(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_id = lose(instance, "lost")
    instance.run_storage.delete_run(run_id)
    instance.create_run_for_job(NIGHTLY, run_id=run_id)
    assert [run.run_id for run in notify_once(instance, receiver, later=120).delivered] == [run_id]


def test_runs_that_succeed_or_are_canceled_are_not_notified(instance: DagsterInstance, receiver: Receiver) -> None:
    run(instance, "trips", partition="2023-01-01")
    canceled = instance.create_run_for_job(NIGHTLY)
    instance.report_run_canceled(canceled)
    notify_once(instance, receiver)
    assert receiver.got == []


def test_a_run_is_notified_once_in_however_many_ticks(instance: DagsterInstance, receiver: Receiver) -> None:
    run(instance, "broken")
    result = notify_once(instance, receiver)
    assert notify_once(instance, receiver, result.state).delivered == []
    assert len(receiver.got) == 1


def test_a_run_whose_failure_is_recorded_twice_is_notified_once(instance: DagsterInstance, receiver: Receiver) -> None:
    run_id = run(instance, "broken")
    result = notify_once(instance, receiver)
    failed = instance.get_run_by_id(run_id)
    assert failed is not None
    instance.report_run_failed(failed, "its process ended after all")
    result = notify_once(instance, receiver, result.state)
    assert (result.delivered, len(receiver.got)) == ([], 1)


def test_a_receiver_that_is_away_gets_all_of_it_when_it_is_back(instance: DagsterInstance) -> None:
    run_ids = [run(instance, "broken") for _ in range(2)]
    with receiving() as receiver:
        port = receiver.port
    away = JsonWebhook(f"http://127.0.0.1:{port}")
    result = notify(instance, away, START, URL, time.time())
    assert ([each.run_id for each, _ in result.problems], result.state.waiting) == (run_ids[:1], tuple(run_ids))
    with receiving() as back:
        result = notify_once(instance, back, result.state)
        assert ([message["run_id"] for message in back.got], result.state.waiting) == (run_ids, ())


def test_a_receiver_that_never_answers_costs_one_timeout_and_nothing_is_lost(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_ids = [run(instance, "broken") for _ in range(3)]
    receiver.silent.set()
    begun = time.monotonic()
    result = notify_once(instance, receiver)
    assert time.monotonic() - begun < 2
    assert result.state.waiting == tuple(run_ids)
    receiver.silent.clear()
    notify_once(instance, receiver, result.state)
    assert [message["run_id"] for message in receiver.got] == run_ids


def test_a_notification_that_is_refused_does_not_hold_up_the_others(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_ids = [run(instance, "broken") for _ in range(2)]
    receiver.answers = [500, 200]
    result = notify_once(instance, receiver)
    assert ([each.run_id for each in result.delivered], result.state.waiting) == (run_ids[1:], (run_ids[0],))
    result = notify_once(instance, receiver, result.state)
    assert ([each.run_id for each in result.delivered], result.state.waiting) == (run_ids[:1], ())


def test_a_notification_is_given_up_after_a_day_of_attempts_and_the_problem_says_so(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run(instance, "broken")
    receiver.answers = [404]
    result = notify_once(instance, receiver, later=GIVE_UP_SECONDS + 60)
    ((_, problem),) = result.problems
    assert (problem, result.state.waiting) == (
        f"http://127.0.0.1:{receiver.port} answers 404 Not Found; given up after a day of attempts",
        (),
    )


def test_no_more_than_so_many_wait_and_the_rest_stays_in_the_event_log(
    instance: DagsterInstance, receiver: Receiver
) -> None:
    run_id = run(instance, "broken")
    full = State(0, tuple(f"deleted {n}" for n in range(MOST_WAITING)))
    result = notify_once(instance, receiver, full)
    assert (result.state, receiver.got) == (State(0), [])
    assert [each.run_id for each in notify_once(instance, receiver, result.state).delivered] == [run_id]


def test_a_tick_ends_when_its_time_is_up(instance: DagsterInstance, receiver: Receiver) -> None:
    run_ids = [run(instance, "broken") for _ in range(2)]
    result = notify(instance, webhook(receiver), START, URL, time.time(), budget=0)
    assert ([each.run_id for each in result.delivered], result.state.waiting) == (run_ids[:1], (run_ids[1],))


def test_a_redirect_is_no_delivery(receiver: Receiver) -> None:
    receiver.answers = [302]
    with pytest.raises(DeliveryError, match="answers 302"):
        webhook(receiver).notify(FAILURE)
    assert len(receiver.got) == 1


def test_a_problem_names_the_receiver_without_the_secret_in_its_url(receiver: Receiver) -> None:
    receiver.answers = [403]
    with pytest.raises(DeliveryError) as problem:
        webhook(receiver).notify(FAILURE)
    assert str(problem.value) == f"http://127.0.0.1:{receiver.port} answers 403 Forbidden"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:{}/a secret", "http://127.0.0.1:{}/\nsecret", "http://me:secret@127.0.0.1:{}/", "http:/secret"],
)
def test_a_url_that_cannot_be_sent_is_a_problem_that_does_not_repeat_it(receiver: Receiver, url: str) -> None:
    with pytest.raises(DeliveryError, match="does not answer") as problem:
        JsonWebhook(url.format(receiver.port)).notify(FAILURE)
    assert "secret" not in str(problem.value)


@pytest.mark.parametrize("answer", ["HTTP/1.1 500 {}", "{}", "HTTP/1.1 {} x"])
def test_an_answer_that_repeats_the_url_is_not_shown(answer: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                line = connection.recv(10_000).decode().splitlines()[0]
                connection.sendall(f"{answer.format(line)}\r\n\r\n".encode())

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        with pytest.raises(DeliveryError) as problem:
            JsonWebhook(f"http://127.0.0.1:{server.getsockname()[1]}/secret").notify(FAILURE)
        thread.join()
    assert "secret" not in str(problem.value)


def tick(instance: DagsterInstance, cursor: str | None) -> dg.SensorEvaluationContext:
    return dg.build_sensor_context(instance=instance, cursor=cursor)


def test_the_sensor_names_the_runs_that_nobody_is_notified_of(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    run_id = run(instance, "broken")
    result = notify_run_failure.evaluate_tick(tick(instance, START.cursor()))
    assert (
        result.skip_message == f"failed, and nobody is notified because there is no secret notify_webhook_url: {run_id}"
    )
    assert notify_run_failure.evaluate_tick(tick(instance, result.cursor)).skip_message == "no run failed"


def test_the_sensors_first_tick_leaves_the_past_alone(instance: DagsterInstance, receiver: Receiver) -> None:
    run(instance, "broken")
    result = notify_run_failure.evaluate_tick(tick(instance, None))
    assert (result.skip_message, receiver.got) == ("no run failed", [])


def test_the_sensors_tick_fails_where_something_was_not_delivered_and_keeps_its_cursor(
    instance: DagsterInstance, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_ids = [run(instance, "broken") for _ in range(2)]
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    (tmp_path / "notify_webhook_url").write_text(f"http://127.0.0.1:{receiver.port}\n")
    receiver.answers = [500, 200]
    result = notify_run_failure.evaluate_tick(tick(instance, START.cursor()))
    delivered, problem = result.dagster_run_reactions or ()
    assert delivered.dagster_run is not None
    assert problem.error is not None
    assert (delivered.dagster_run.run_id, delivered.error) == (run_ids[1], None)
    assert problem.error.message == (
        f"The failure of run {run_ids[0]} was not notified: http://127.0.0.1:{receiver.port} answers 500 Internal "
        "Server Error; the next tick tries again.\n"
    )
    assert State.from_cursor(result.cursor, newest=0).waiting == (run_ids[0],)
