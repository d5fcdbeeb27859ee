"""Deletes old events that are only needed to read a run's log.

Dagster has no API for it: its retention covers ticks, and ``delete_run`` and ``delete_events`` also delete the
materializations, and with them the state of the partitions. So this uses the storage's own tables.

The types to delete are listed; everything else is kept, including types that a later Dagster adds. Dagster's decisions
use the rest: the events of assets and checks (partitions, history, automation, backfills), the run's changes of status
(its times, the cursors of sensors), start, end and failures of steps (durations), and the outputs of a run that did not
succeed (it can be re-executed from its failure).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

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


class Pruned(NamedTuple):
    """Events of one type: Dagster's name of it or ``log message``, and their rows' number and size without indexes."""

    event_type: str
    rows: int
    bytes: int


class StorageError(RuntimeError):
    """The instance does not keep its history in one Postgres."""


def prune_events(
    instance: DagsterInstance,
    ended_before: float,
    *,
    dry_run: bool,
    batch: int = BATCH,
    log: Callable[[str], Any] = print,
) -> list[Pruned]:
    """Deletes the prunable events of runs that ended before a time, batch by batch.

    Whether an event goes depends on the run's row, which stays, and on the event's type. Each batch is a transaction.
    So any order, repetition, overlap or crash of prunings leaves the same rows once one has completed.

    Returns per type what was deleted; types without such events are left out. ``ended_before`` is in seconds since the
    epoch; ``dry_run`` counts, and deletes nothing; ``batch`` is the most rows that one transaction deletes.
    """
    storage = _storage(instance)
    found = []
    for event_type in (*PRUNED, *PRUNED_AFTER_SUCCESS):
        statuses = (DagsterRunStatus.SUCCESS,) if event_type in PRUNED_AFTER_SUCCESS else FINISHED
        prunable = _prunable(event_type, statuses, ended_before)
        rows, size = _measure(storage, prunable) if dry_run else _delete(storage, prunable, batch)
        if rows:
            pruned = Pruned(event_type.value if event_type else LOG_MESSAGE, rows, size)
            log(f"{pruned.event_type}: {rows} rows, {size} bytes {'would be deleted' if dry_run else 'deleted'}")
            found.append(pruned)
    return found


def prune_audit(instance: DagsterInstance, *, dry_run: bool) -> int:
    """Deletes the lines of audit.log that are older than a year (services/migrate/dagster.sql); returns how many."""
    with _storage(instance).index_transaction() as connection:
        return int(connection.execute(sa.select(sa.func.audit.prune(dry_run))).scalar_one())


def _storage(instance: DagsterInstance) -> PostgresEventLogStorage:
    events, runs = instance.event_log_storage, instance.run_storage
    if (
        isinstance(events, PostgresEventLogStorage)
        and isinstance(runs, PostgresRunStorage)
        and events.postgres_url == runs.postgres_url
    ):
        return events
    raise StorageError(
        f"The instance keeps its events in {type(events).__name__} and its runs in {type(runs).__name__}; pruning "
        "needs both in one Postgres. Set storage: postgres: in dagster.yaml, or switch HOUSEKEEPING off."
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
        # Each batch starts after the last one, because deleted rows stay in the index until a vacuum. Locked rows
        # belong to another pruning.
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
    """Selects id and size of the events of a type whose run ended before a time, with one of these statuses.

    One type at a time, in the order of ids, is served by the index on (type, id); the only rows read in vain are the
    events of that type from the days that are kept.
    """
    of_type = Events.c.dagster_event_type == event_type.value if event_type else Events.c.dagster_event_type.is_(None)
    ended = Runs.c.status.in_([status.value for status in statuses])
    return (
        sa.select(Events.c.id, sa.func.pg_column_size(sa.literal_column("event_logs.*")).label("size"))
        .join(Runs, Runs.c.run_id == Events.c.run_id)
        .where(of_type, Events.c.asset_key.is_(None), ended, Runs.c.end_time < ended_before)
    )
