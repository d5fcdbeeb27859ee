"""Lets webserver and daemon read on where code of a location has stored an event that Dagster cannot read.

A location may store events of its own runs, and only Dagster's classes tell whether a text is an event: Postgres
cannot. Dagster reads many events at once, and one that it cannot read ends the read for all locations: retries,
automation, the list of assets. Skipped, an event would stop the cursors of the readers.

So the columns that have events get a type that checks what is read. It reaches into Dagster's tables, because each of
their readers deserializes for itself. tests/cross_location/test_unreadable_events.py tries each reader.
"""

import json
import logging
from typing import Any

from dagster import AssetCheckEvaluation, AssetKey, AssetMaterialization, AssetObservation, EventLogRecord
from dagster._check import CheckError
from dagster._core.events import (
    AssetObservationData,
    DagsterEvent,
    DagsterEventType,
    EngineEventData,
    JobCanceledData,
    JobFailureData,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._serdes import deserialize_value, serialize_value
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy import Column, Dialect, Text, TypeDecorator

LONGEST_MESSAGE = 500
# DagsterEvent itself checks the data of the other types that more than the page of their run reads.
_DATA = {
    DagsterEventType.ASSET_OBSERVATION: AssetObservationData,
    DagsterEventType.RUN_CANCELED: JobCanceledData | None,
    DagsterEventType.RUN_FAILURE: JobFailureData | None,
}


class EventText(TypeDecorator[str]):
    """Reads an EventLogEntry. One that Dagster cannot read becomes one of the same run, type, asset and partition."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        try:
            _check(deserialize_value(value, EventLogEntry), value)
        except Exception as error:  # whatever Dagster's classes raise
            return serialize_value(_placeholder(value, error))
        return value


class NewestMaterializationText(TypeDecorator[str]):
    """Reads the copy of an asset's newest event. Without one that can be read, Dagster reads the event itself."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        try:
            record = deserialize_value(value, EventLogRecord)
            readable = record.event_log_entry.asset_materialization is not None and type(record.storage_id) is int
        except Exception:  # whatever Dagster's classes raise
            readable = False
        return value if readable else None


def _check(entry: EventLogEntry, text: str) -> None:
    event = entry.dagster_event
    if event is None:
        return
    if event.event_type in _DATA and not isinstance(event.event_specific_data, _DATA[event.event_type]):
        raise TypeError(f"its data is a {type(event.event_specific_data).__name__}")
    about = entry.asset_materialization or entry.asset_observation
    # The daemon takes a version of the data from the tags, which Dagster does not check.
    if about and not all(isinstance(value, str) for value in (about.tags or {}).values()):
        raise TypeError("a tag is no text")
    # What Dagster makes of an event whose data it cannot read.
    engine = DagsterEventType.ENGINE_EVENT
    if event.event_type is engine and json.loads(text)["dagster_event"]["event_type_value"] != engine.value:
        raise TypeError(event.message)


def _placeholder(text: str, error: Exception) -> EventLogEntry:
    try:
        # Python refuses integers of many digits.
        entry = _object(json.loads(text, parse_int=float))
    except (ValueError, RecursionError):
        entry = {}
    # What the walls have compared with the columns of the row.
    event, run_id, timestamp = _object(entry.get("dagster_event")), entry.get("run_id"), entry.get("timestamp")
    kind = event.get("event_type_value")
    what = f"An event of the run {run_id} ({kind or 'a log message'}) could not be read"
    message = f"{what}: {type(error).__name__}: {error}"[:LONGEST_MESSAGE]
    return EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level=logging.ERROR,
        user_message=message,
        run_id=str(run_id),
        timestamp=timestamp if isinstance(timestamp, float) else 0.0,
        dagster_event=_event(kind, _object(event.get("event_specific_data")), message) if kind else None,
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _event(kind: str, data: dict[str, Any], message: str) -> DagsterEvent:
    """An event of this type with the least data, or an event of the engine if its data is read for its run alone."""
    try:
        least = _least_data(DagsterEventType(kind), data, message)
        return DagsterEvent(kind, job_name="", event_specific_data=least, message=message)
    except (CheckError, KeyError, TypeError, ValueError):
        engine = DagsterEventType.ENGINE_EVENT.value
        return DagsterEvent(engine, job_name="", event_specific_data=EngineEventData(), message=message)


def _least_data(kind: DagsterEventType, data: dict[str, Any], message: str) -> Any:
    match kind:
        case DagsterEventType.ASSET_MATERIALIZATION:
            about = data["materialization"]
            key, partition = AssetKey(about["asset_key"]["path"]), about.get("partition")
            return StepMaterializationData(AssetMaterialization(key, message, partition=partition))
        case DagsterEventType.ASSET_OBSERVATION:
            about = data["asset_observation"]
            key, partition = AssetKey(about["asset_key"]["path"]), about.get("partition")
            return AssetObservationData(AssetObservation(key, message, partition=partition))
        case DagsterEventType.ASSET_CHECK_EVALUATION:
            return AssetCheckEvaluation(
                AssetKey(data["asset_key"]["path"]),
                data["check_name"],
                passed=data.get("success") is True,
                description=message,
                partition=data.get("partition"),
            )
        case DagsterEventType.RUN_FAILURE:
            return JobFailureData(SerializableErrorInfo(message, [], None))
        case _:
            return None


def check_column(column: Column[Any], checked: TypeDecorator[str]) -> None:
    """Gives a column of texts a type that checks what is read, in this process; TypeError if it has no texts."""
    if not isinstance(column.type, (Text, type(checked))):
        raise TypeError(f"Dagster's column {column} is no text, so what cannot be read in it is not found")
    column.type = checked


def survive_unreadable_events() -> None:
    """Has this process read on after what Dagster cannot read."""
    check_column(SqlEventLogStorageTable.c.event, EventText())
    check_column(AssetCheckExecutionsTable.c.evaluation_event, EventText())
    check_column(AssetKeyTable.c.last_materialization, NewestMaterializationText())
