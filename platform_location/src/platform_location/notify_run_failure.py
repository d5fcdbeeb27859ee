"""The sensor ``notify_run_failure``: someone is told of every run that fails, in whichever code location."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.definitions.run_request import DagsterRunReaction
from dagster_shared.error import SerializableErrorInfo

from platform_location.notifier import JsonWebhook, NotDelivered, Notifier
from platform_location.run_failure import WILL_RETRY, describe
from platform_location.settings import DAY_SECONDS, read_settings

INTERVAL_SECONDS = 30
# A tick that takes a minute is given up, and what it delivered would be delivered again.
BUDGET_SECONDS = 25.0
# Failures that wait for a receiver that is away; more stay in the event log until these are delivered or given up.
MOST_WAITING = 100
GIVE_UP_SECONDS = DAY_SECONDS
# Dagster decides on a retry right after it has stored the failure. Should its process die between the two, it is asked
# no longer than this.
DECISION_SECONDS = 60


@dataclass(frozen=True)
class State:
    """What the sensor remembers; its cursor, as JSON that a person can read.

    Attributes:
        after: id of the last event that was looked at.
        waiting: ids of the runs whose notification is still to be delivered, the oldest failure first.
    """

    after: int
    waiting: tuple[str, ...] = ()

    @classmethod
    def from_cursor(cls, cursor: str | None, newest: int) -> "State":
        """Reads a cursor. Without one, or with one that cannot be read, the past is left alone: nobody is told of runs
        that failed before the newest event.
        """
        try:
            state = json.loads(cursor or "")
            return cls(int(state["after"]), tuple(map(str, state["waiting"])))
        except (ValueError, TypeError, KeyError):
            return cls(newest)

    def cursor(self) -> str:
        """The state as a cursor."""
        return json.dumps({"after": self.after, "waiting": self.waiting})


@dataclass
class Told:
    """What came of one look.

    Attributes:
        state: what to remember.
        delivered: runs whose notification arrived.
        problems: runs whose notification did not, and why.
        untold: runs that nobody is told of, since there is no notifier.
    """

    state: State
    delivered: list[dg.DagsterRun] = field(default_factory=list)
    problems: list[tuple[dg.DagsterRun, str]] = field(default_factory=list)
    untold: list[dg.DagsterRun] = field(default_factory=list)


def tell(
    instance: DagsterInstance,
    notifier: Notifier | None,
    state: State,
    dagster_url: str,
    now: float,
    budget: float = BUDGET_SECONDS,
) -> Told:
    """Tells of the runs that failed since the last look, and of those that wait.

    At least once: a notification is forgotten only after the receiver took it. It arrives again only where the tick
    died between the receiver's answer and the storing of the state, or where the answer was lost. A run is told of
    once, however often its failure is recorded. A receiver that does not answer costs a look one attempt; one that
    refuses a notification does not hold up the others. After a day of attempts a notification is given up, which the
    tick says.

    Args:
        instance: the instance.
        notifier: whom to tell; None is nobody.
        state: from the last look.
        dagster_url: address of the UI, without a trailing slash.
        now: seconds since the epoch.
        budget: seconds that the look may take.
    """
    deadline = time.monotonic() + budget
    changes = dg.RunStatusChangeRecordsFilter(DagsterEventType.RUN_FAILURE, after_storage_id=state.after)
    room = MOST_WAITING - len(state.waiting)
    new = instance.fetch_run_status_changes(changes, limit=room, ascending=True).records if room > 0 else []
    after = max([state.after, *(record.storage_id for record in new)])
    told = Told(state)
    waiting: list[str] = []
    stopped = False
    for run_id in dict.fromkeys([*state.waiting, *(record.run_id for record in new)]):
        run = instance.get_run_by_id(run_id)
        recorded = instance.get_records_for_run(run_id, of_type=DagsterEventType.RUN_FAILURE, limit=1).records
        if run is None or not recorded:
            continue  # deleted meanwhile
        first = recorded[0]
        if run_id not in state.waiting and first.storage_id <= state.after:
            continue  # recorded as failed before, and told of then
        if notifier is None:
            told.untold.append(run)
            continue
        failure = first.event_log_entry
        undecided = instance.run_retries_enabled and WILL_RETRY not in run.tags
        if stopped or (undecided and now - failure.timestamp < DECISION_SECONDS):
            waiting.append(run_id)
            continue
        try:
            notifier.notify(describe(instance, run, failure, dagster_url))
            told.delivered.append(run)
        except NotDelivered as error:
            if now - failure.timestamp > GIVE_UP_SECONDS:
                told.problems.append((run, f"{error}; tried for a day, given up"))
            else:
                told.problems.append((run, f"{error}; tried again with the next tick"))
                waiting.append(run_id)
            stopped = error.unreachable
        stopped = stopped or time.monotonic() > deadline
    told.state = State(after, tuple(waiting))
    return told


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells whoever NOTIFY_WEBHOOK_URL names of every run that fails, in all code locations.",
)
def notify_run_failure(context: dg.SensorEvaluationContext) -> Iterator[DagsterRunReaction | dg.SkipReason]:
    """Tells of failed runs.

    Not ``@run_failure_sensor``: that one goes on to the next failure when telling of one went wrong, so that a receiver
    that is away for a moment never hears of it. Like it, this one reads the failures of all locations from the event
    log and answers with reactions, which Dagster writes to the log of each run.
    """
    newest = context.instance.event_log_storage.get_maximum_record_id() or 0
    state = State.from_cursor(context.cursor, newest)
    settings = read_settings()
    notifier = JsonWebhook(settings.notify_webhook_url) if settings.notify_webhook_url else None
    told = tell(context.instance, notifier, state, settings.dagster_url, time.time())
    context.update_cursor(told.state.cursor())
    failed = dg.DagsterRunStatus.FAILURE
    for run in told.delivered:
        yield DagsterRunReaction(dagster_run=run, run_status=failed)
    # Last, so that the tick counts as failed; its cursor is stored all the same.
    for run, problem in told.problems:
        error = SerializableErrorInfo(f"Nobody was told that run {run.run_id} failed: {problem}.\n", [], "NotDelivered")
        yield DagsterRunReaction(dagster_run=run, run_status=failed, error=error)
    if not told.delivered and not told.problems:
        yield dg.SkipReason(_in_words(told))


def _in_words(told: Told) -> str:
    if told.untold:
        runs = ", ".join(run.run_id for run in told.untold)
        return f"failed, and nobody is told since NOTIFY_WEBHOOK_URL is empty: {runs}"
    if told.state.waiting:
        return f"{len(told.state.waiting)} failed, and Dagster has not decided yet whether it launches them again"
    return "no run failed"
