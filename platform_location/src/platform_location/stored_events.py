"""Reads events one by one, because any location may have stored one that Dagster cannot read.

The instance reads all events of a query or none, so these use the storage's own table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC

import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance, EventLogEntry
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._serdes import deserialize_value


@dataclass(frozen=True)
class StoredEvent:
    """An event as it is stored: its id, its run, its time in seconds since the epoch, and its text."""

    storage_id: int
    run_id: str
    timestamp: float
    text: str

    def entry(self) -> EventLogEntry:
        """The event, or whatever error Dagster raises when it reads it."""
        return deserialize_value(self.text, EventLogEntry)


def events_of_run(
    instance: DagsterInstance, run_id: str, event_type: DagsterEventType, limit: int | None = None
) -> Iterator[StoredEvent]:
    """The events of a type of a run, the oldest first."""
    return _read(instance, Events.c.run_id == run_id, event_type, limit)


def _read(
    instance: DagsterInstance, which: sa.ColumnElement[bool], event_type: DagsterEventType, limit: int | None
) -> Iterator[StoredEvent]:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"The instance keeps its events in {type(storage).__name__}, which is not an SQL storage.")
    query = (
        sa.select(Events.c.id, Events.c.run_id, Events.c.timestamp, Events.c.event)
        .where(which, Events.c.dagster_event_type == event_type.value)
        .order_by(Events.c.id)
        .limit(limit)
    )
    with storage.index_connection() as connection:
        rows = connection.execute(query).all()
    for row in rows:
        yield StoredEvent(row.id, row.run_id, row.timestamp.replace(tzinfo=UTC).timestamp(), row.event)
