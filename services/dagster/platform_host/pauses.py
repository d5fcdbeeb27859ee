"""Shortens what webserver and daemon make people and the machine wait for, where Dagster has no setting for it.

- The daemon looks for new backfills, and for the next step of those in progress, every 30 seconds.
- The planned events of a run of 90 partitions and four assets are 360 single inserts.
- After a restart of Postgres, each connection that the webserver kept answers one request with an error.
- The daemon opens a connection for each query, ten a second. To open one takes more CPU than most queries.

``HOST_TUNING=off`` leaves all of it to Dagster. In Dagster itself, the changes would be a setting ``backfills:
interval_seconds``, one insert in ``PostgresEventLogStorage.store_event_batch`` for all types of events, and
``pool_pre_ping`` in ``optimize_for_webserver``, which the daemon would call, too. tests/platform_host/test_pauses.py
fails when a release changes what this rests on.
"""

import os
import time
from collections.abc import Sequence
from typing import Any

import dagster._daemon.controller as controller
from dagster import DagsterEventType, DagsterInstance, EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

SETTING = "HOST_TUNING"
BACKFILL_SECONDS = 2
# Far above the events of one run, so that they are one batch.
EVENTS_OF_A_BATCH = 10_000
# A connection that was used a moment ago is not tested again.
IDLE_SECONDS = 1.0
# So long a connection is kept, as in the webserver.
KEPT_SECONDS = 3600
_USED_AT = "platform_host.used_at"

_store_event_batch = PostgresEventLogStorage.store_event_batch


def _store_batch(storage: PostgresEventLogStorage, events: Sequence[EventLogEntry]) -> None:
    """Stores planned materializations by one insert, and what else is in the batch as Dagster does."""
    planned: list[EventLogEntry] = []
    others: list[EventLogEntry] = []
    for entry in events:
        is_planned = entry.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        (planned if is_planned else others).append(entry)
    if planned:
        insert = storage.prepare_insert_event_batch(planned).returning(SqlEventLogStorageTable.c.id)
        with storage.index_connection() as connection:
            ids = [int(row[0]) for row in connection.execute(insert)]
        with storage.index_transaction() as connection:
            storage._store_asset_event_tags(connection, planned, ids)
            # The row of an asset says only which run was planned last.
            newest = {entry.get_dagster_event().asset_key: (entry, id) for entry, id in zip(planned, ids, strict=True)}
            for entry, id in newest.values():
                storage._store_asset_event(connection, entry, id)
    if others:
        _store_event_batch(storage, others)


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _test(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """Has the pool replace a connection that it kept and that Postgres has ended."""
    if time.monotonic() - record.info.get(_USED_AT, time.monotonic()) < IDLE_SECONDS:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except connection.Error as error:
        raise DisconnectionError("the connection was ended while it was kept") from error


def _is_on() -> bool:
    value = os.environ.get(SETTING, "on")
    if value not in ("on", "off"):
        raise ValueError(f"{SETTING} is {value!r}. Set it to on or off in .env.")
    return value == "on"


def keep_connections(instance: DagsterInstance) -> None:
    """Has each storage of an instance keep one connection, and open more while they are needed.

    The webserver makes the same call after this one, with a limit and a timeout of its own. Raises ValueError if
    HOST_TUNING is neither on nor off.
    """
    if _is_on():
        instance.optimize_for_webserver(statement_timeout=0, pool_recycle=KEPT_SECONDS, max_overflow=-1)


def shorten_pauses() -> None:
    """Shortens the pauses of this process. Raises ValueError if HOST_TUNING is neither on nor off."""
    if not _is_on():
        return
    if "DEFAULT_DAEMON_INTERVAL_SECONDS" not in vars(controller):
        raise RuntimeError("This Dagster has no DEFAULT_DAEMON_INTERVAL_SECONDS, the time between looks for backfills.")
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = BACKFILL_SECONDS
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(EVENTS_OF_A_BATCH))
    PostgresEventLogStorage.store_event_batch = _store_batch  # type: ignore[method-assign, assignment]
    for name, listener in (("checkin", _note_use), ("checkout", _test)):
        if not event.contains(QueuePool, name, listener):
            event.listen(QueuePool, name, listener)
