"""dbt's events as Dagster's, with what a person looks for in them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from dbt_location.kept_connection import keep_connection
from dbt_location.lean_dagster_dbt import DagsterDbtCliRuntimeError, DbtCliInvocation
from dbt_location.warehouse import Warehouse

# What dbt says if Postgres ends its session; it depends on what dbt was doing.
_ENDED = ("terminating connection due to administrator command", "server closed the connection unexpectedly")
ENDED = (
    "A session of dbt was ended by the warehouse. That happens to one that reads the trips for so long that a load of "
    "taxi_trips waits for it for more than TAXI_LOCK_WAIT_SECONDS, and where the server stops. What it had not "
    "committed is undone. After a load the days of its month are built again automatically; launch this run again for "
    "the others."
)
# What Postgres answers to the last statement of a model: INSERT 0 90.
_INSERTED = re.compile(r"INSERT 0 (\d+)")


def rows_written(raw_event: Mapping[str, Any]) -> int | None:
    """How many rows a model has written, by dbt's event of its end; None for every other event, and for views."""
    if raw_event["info"]["name"] != "LogModelResult":
        return None
    inserted = _INSERTED.fullmatch(raw_event["data"]["status"])
    return int(inserted[1]) if inserted else None


def stream(invocation: DbtCliInvocation, warehouse: Warehouse, partitions: int) -> Iterator[Any]:
    """Yields the events of a dbt command, as ``_events`` does.

    Raises:
        dg.Failure: a lock was not free in time, or dbt's session was ended; the message says why and what comes next.
        DagsterDbtCliRuntimeError: dbt failed in another way.
    """
    if invocation.context:
        keep_connection(invocation.context.instance.event_log_storage)
    try:
        yield from _events(invocation, partitions)
    except DagsterDbtCliRuntimeError as error:
        if "canceling statement due to lock timeout" in str(error):
            raise dg.Failure(warehouse.explain_lock_timeout()) from error
        if any(said in str(error) for said in _ENDED):
            raise dg.Failure(ENDED) from error
        raise


def _events(invocation: DbtCliInvocation, partitions: int) -> Iterator[Any]:
    """Yields what ``invocation.stream()`` yields, with the number of rows that each model has written.

    The rows are dbt's own count of its window. ``fetch_row_counts`` would count the whole table, which grows with the
    history; together with ``fetch_column_metadata`` it raised the CPU time of a day's run, without dbt's own, from 4 to
    10 s.

    If dbt builds one partition, the rows are the partition's row count.
    """
    for message in invocation.stream_raw_events():
        rows = rows_written(message.raw_event)
        metadata = {} if rows is None else {"rows_written": rows}
        if rows is not None and partitions == 1:
            metadata["dagster/partition_row_count"] = rows
        for event in message.to_default_asset_events(
            manifest=invocation.manifest,
            dagster_dbt_translator=invocation.dagster_dbt_translator,
            context=invocation.context,
            target_path=invocation.target_path,
            project=invocation.project,
        ):
            if metadata and isinstance(event, dg.Output):
                yield event.with_metadata({**event.metadata, **metadata})
            else:
                yield event
