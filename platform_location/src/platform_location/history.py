"""Deleting old events of the instance that nothing but a reader of a run's log reads.

Dagster has no API for it: its retention covers ticks, and ``delete_run`` and ``delete_events`` take the
materializations along, and with them the state of the partitions. So this goes to the storage's own tables.

What goes is listed; all else stays, types that a later Dagster adds included. What stays is what Dagster reads to
decide: the events of assets and checks (partitions, history, automation, backfills), the run's own changes of status
(its times, the cursors of sensors), start, end and failures of steps (durations), and the outputs of a run that did not
succeed (it can be launched again from its failure).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.runs.schema import RunsTable as Runs
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage

from platform_location.run_containers import FINISHED

# Messages that code logged have no type.
LOG_MESSAGE = "log message"
PRUNED: tuple[DagsterEventType | None, ...] = (
    None,
    DagsterEventType.ENGINE_EVENT,
    DagsterEventType.STEP_WORKER_STARTING,
    DagsterEventType.STEP_WORKER_STARTED,
    DagsterEventType.RESOURCE_INIT_STARTED,
    DagsterEventType.RESOURCE_INIT_SUCCESS,
    DagsterEventType.LOGS_CAPTURED,
    DagsterEventType.STEP_INPUT,
    DagsterEventType.LOADED_INPUT,
    DagsterEventType.HANDLED_OUTPUT,
    DagsterEventType.OBJECT_STORE_OPERATION,
    DagsterEventType.HOOK_COMPLETED,
    DagsterEventType.HOOK_ERRORED,
    DagsterEventType.HOOK_SKIPPED,
)
PRUNED_AFTER_SUCCESS = (DagsterEventType.STEP_OUTPUT,)
BATCH = 5_000


@dataclass(frozen=True)
class Pruned:
    """Events of one type.

    Attributes:
        event_type: Dagster's name of the type, or ``log message``.
        rows: how many.
        bytes: size of the rows, without indexes, as Postgres stores them.
    """

    event_type: str
    rows: int
    bytes: int


class StorageError(RuntimeError):
    """The instance keeps its history elsewhere than in one Postgres."""


def prune(
    instance: DagsterInstance,
    ended_before: float,
    *,
    dry_run: bool,
    batch: int = BATCH,
    say: Callable[[str], Any] = print,
) -> list[Pruned]:
    """Deletes the prunable events of runs that ended before a moment, batch by batch.

    What is deleted is decided by what stays, the run's row and the event's type. So a pruning that was interrupted, is
    repeated, or overlaps with another one comes to the same: each batch is a transaction, and the next one goes on.

    Args:
        instance: an instance on Postgres.
        ended_before: seconds since the epoch.
        dry_run: counts and deletes nothing.
        batch: most rows that one transaction deletes.
        say: told of progress, a sentence each.

    Returns:
        Per type what was deleted, or would be; types without such events are left out.

    Raises:
        StorageError: the history is not in one Postgres.
    """
    storage = _storage(instance)
    found = []
    for event_type in (*PRUNED, *PRUNED_AFTER_SUCCESS):
        statuses = (DagsterRunStatus.SUCCESS,) if event_type in PRUNED_AFTER_SUCCESS else FINISHED
        prunable = _prunable(event_type, statuses, ended_before)
        rows, size = _measure(storage, prunable) if dry_run else _delete(storage, prunable, batch)
        if rows:
            pruned = Pruned(event_type.value if event_type else LOG_MESSAGE, rows, size)
            say(f"{pruned.event_type}: {rows} rows, {size} bytes {'would go' if dry_run else 'deleted'}")
            found.append(pruned)
    return found


def _storage(instance: DagsterInstance) -> PostgresEventLogStorage:
    events, runs = instance.event_log_storage, instance.run_storage
    if (
        isinstance(events, PostgresEventLogStorage)
        and isinstance(runs, PostgresRunStorage)
        and events.postgres_url == runs.postgres_url
    ):
        return events
    raise StorageError(
        f"The instance keeps its events in {type(events).__name__} and its runs in {type(runs).__name__}; pruning is "
        "made for one Postgres that has both. Say storage: postgres: in dagster.yaml, or switch HOUSEKEEPING off."
    )


def _measure(storage: PostgresEventLogStorage, prunable: sa.Select[Any]) -> tuple[int, int]:
    chosen = prunable.subquery()
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(chosen.c.size), 0))
    with storage.index_connection() as connection:
        rows, size = connection.execute(query.select_from(chosen)).one()
    return int(rows), int(size)


def _delete(storage: PostgresEventLogStorage, prunable: sa.Select[Any], batch: int) -> tuple[int, int]:
    rows = size = last = 0
    while True:
        # From the last batch's end on, for the deleted rows stay in the index until a vacuum; locked rows are another
        # pruning's.
        some = prunable.where(Events.c.id > last).order_by(Events.c.id).limit(batch)
        chosen = some.with_for_update(skip_locked=True, of=Events).cte("chosen")
        deletion = sa.delete(Events).where(Events.c.id == chosen.c.id).returning(Events.c.id, chosen.c.size)
        with storage.index_transaction() as connection:
            deleted = connection.execute(deletion).all()
        rows += len(deleted)
        size += sum(row.size for row in deleted)
        if len(deleted) < batch:
            return rows, size
        last = max(row.id for row in deleted)


def _prunable(
    event_type: DagsterEventType | None, statuses: Iterable[DagsterRunStatus], ended_before: float
) -> sa.Select[Any]:
    """Selects id and size of the events of a type whose run ended before a moment, with one of these statuses.

    Type by type, in the order of their ids: the index on (type, id) serves that, and all that there is to look through
    for nothing are the events of that type of the days that are kept.
    """
    of_type = Events.c.dagster_event_type == event_type.value if event_type else Events.c.dagster_event_type.is_(None)
    ended = Runs.c.status.in_([status.value for status in statuses])
    return (
        sa.select(Events.c.id, sa.func.pg_column_size(sa.literal_column("event_logs.*")).label("size"))
        .join(Runs, Runs.c.run_id == Events.c.run_id)
        .where(of_type, Events.c.asset_key.is_(None), ended, Runs.c.end_time < ended_before)
    )
