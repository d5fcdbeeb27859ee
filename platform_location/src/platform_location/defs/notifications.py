"""The sensor ``notify_run_failure``: notifies someone of every run that fails, in all code locations."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.definitions.run_request import DagsterRunReaction
from dagster_shared.error import SerializableErrorInfo

from platform_location.run_failure import WILL_RETRY, describe
from platform_location.settings import DAY_SECONDS, read_settings
from platform_location.stored_events import events_after, events_of_run
from platform_location.webhook import DeliveryError, JsonWebhook

INTERVAL_SECONDS = 30
# Dagster gives up a tick after a minute, and what it delivered would be delivered again.
BUDGET_SECONDS = 25.0
# Failures that wait for a receiver that is away. More stay in the event log until these are delivered or given up.
MOST_WAITING = 100
GIVE_UP_SECONDS = DAY_SECONDS
# Dagster decides on a retry right after it has stored the failure. If its process dies between the two, this is how
# long a notification waits for the decision.
DECISION_SECONDS = 60


@dataclass(frozen=True)
class State:
    """What the sensor remembers, stored as its cursor, in JSON.

    ``after`` is the id of the last event that was looked at; ``waiting`` are the ids of the runs whose notification is
    still to be delivered, the oldest failure first.
    """

    after: int
    waiting: tuple[str, ...] = ()

    @classmethod
    def from_cursor(cls, cursor: str | None, newest: int) -> "State":
        """Reads a cursor. Without one that can be read, runs that failed before the newest event are skipped."""
        try:
            state = json.loads(cursor or "")
            return cls(int(state["after"]), tuple(map(str, state["waiting"])))
        except (ValueError, TypeError, KeyError):
            return cls(newest)

    def cursor(self) -> str:
        return json.dumps({"after": self.after, "waiting": self.waiting})


@dataclass
class NotificationResult:
    """The state to remember, and the runs whose notification was delivered, was not and why, or had no receiver."""

    state: State
    delivered: list[dg.DagsterRun] = field(default_factory=list)
    problems: list[tuple[dg.DagsterRun, str]] = field(default_factory=list)
    without_receiver: list[dg.DagsterRun] = field(default_factory=list)


def notify(
    instance: DagsterInstance,
    notifier: JsonWebhook | None,
    state: State,
    dagster_url: str,
    now: float,
    budget: float = BUDGET_SECONDS,
) -> NotificationResult:
    """Delivers notifications of the runs that failed since the last tick, and of those that wait.

    At least once: a notification is forgotten only after the receiver took it. It arrives again only if the tick died
    before the state was stored, or if the answer was lost. There is one per run, however often its failure is
    recorded. A receiver that does not answer costs a tick one attempt; one that refuses a notification does not hold up
    the others. After a day of attempts a notification is given up, which the tick says. ``now`` is in seconds since the
    epoch, ``budget`` in seconds.
    """
    deadline = time.monotonic() + budget
    failed = DagsterEventType.RUN_FAILURE
    room = max(MOST_WAITING - len(state.waiting), 0)
    new = list(events_after(instance, state.after, failed, limit=room))
    result = NotificationResult(state)
    waiting: list[str] = []
    stopped = False
    for run_id in dict.fromkeys([*state.waiting, *(event.run_id for event in new)]):
        run = instance.get_run_by_id(run_id)
        failure = next(events_of_run(instance, run_id, failed, limit=1), None)
        if run is None or failure is None:
            continue  # the run was deleted
        if run_id not in state.waiting and failure.storage_id <= state.after:
            continue  # the failure was recorded and notified before
        if notifier is None:
            result.without_receiver.append(run)
            continue
        undecided = instance.run_retries_enabled and WILL_RETRY not in run.tags
        if stopped or (undecided and now - failure.timestamp < DECISION_SECONDS):
            waiting.append(run_id)
            continue
        try:
            notifier.notify(describe(instance, run, failure, dagster_url))
            result.delivered.append(run)
        except DeliveryError as error:
            given_up = now - failure.timestamp > GIVE_UP_SECONDS
            next_step = "given up after a day of attempts" if given_up else "the next tick tries again"
            result.problems.append((run, f"{error}; {next_step}"))
            if not given_up:
                waiting.append(run_id)
            stopped = error.unreachable
        stopped = stopped or time.monotonic() > deadline
    result.state = State(max([state.after, *(event.storage_id for event in new)]), tuple(waiting))
    return result


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notifies the receiver (the secret notify_webhook_url) of every run that fails, in all code locations.",
)
def notify_run_failure(context: dg.SensorEvaluationContext) -> Iterator[DagsterRunReaction | dg.SkipReason]:
    """Notifies of failed runs.

    Not ``@run_failure_sensor``: it goes on to the next failure when a notification fails, so that a receiver that is
    away for a moment never gets it. Like it, this sensor reads the failures of all locations from the event log and
    answers with reactions, which Dagster writes to the log of each run.
    """
    newest = context.instance.event_log_storage.get_maximum_record_id() or 0
    state = State.from_cursor(context.cursor, newest)
    settings = read_settings()
    notifier = JsonWebhook(settings.notify_webhook_url) if settings.notify_webhook_url else None
    result = notify(context.instance, notifier, state, settings.dagster_url, time.time())
    context.update_cursor(result.state.cursor())
    failed = dg.DagsterRunStatus.FAILURE
    for run in result.delivered:
        yield DagsterRunReaction(dagster_run=run, run_status=failed)
    # Last, so that the tick counts as failed; its cursor is stored all the same.
    for run, problem in result.problems:
        message = f"The failure of run {run.run_id} was not notified: {problem}.\n"
        error = SerializableErrorInfo(message, [], "DeliveryError")
        yield DagsterRunReaction(dagster_run=run, run_status=failed, error=error)
    if not result.delivered and not result.problems:
        yield dg.SkipReason(_skip_reason(result))


def _skip_reason(result: NotificationResult) -> str:
    if result.without_receiver:
        runs = ", ".join(run.run_id for run in result.without_receiver)
        return f"failed, and nobody is notified because there is no secret notify_webhook_url: {runs}"
    if result.state.waiting:
        return f"{len(result.state.waiting)} failed, and Dagster has not decided yet whether it retries them"
    return "no run failed"
