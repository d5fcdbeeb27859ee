"""Stores the end of a run container's output, and how the container ended, as an event of a run that did not succeed.

The output of steps is in the compute logs, on a volume. What a run prints outside its steps (an import error, a crash
before the first step) is only in Docker's log of the container, and is deleted with it.
"""

import contextlib
import re
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance, EventLogEntry
from dagster._core.events import EngineEventData
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._serdes import deserialize_value

from platform_location.docker_api import NO_LOG, Docker, DockerError
from platform_location.run_containers import RunContainer

LINES = 200
MOST_BYTES = 16_000
# The metadata entry that identifies these events; its value is the container's id.
CONTAINER = "container"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def stored_containers(instance: DagsterInstance, run_id: str) -> set[str]:
    """The ids of the containers whose output is stored with a run.

    The run's location can store such events, too, and Dagster may not be able to read them. The instance reads all
    events of a query or none, so this reads the storage's own table.
    """
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    of_run = Events.c.run_id == run_id, Events.c.dagster_event_type == DagsterEventType.ENGINE_EVENT.value
    with storage.index_connection() as connection:
        events = connection.execute(sa.select(Events.c.event).where(*of_run)).scalars().all()
    found = set()
    for event in events:
        with contextlib.suppress(Exception):
            read = deserialize_value(event, EventLogEntry).get_dagster_event()
            found.add(str(read.engine_event_data.metadata[CONTAINER].value))
    return found


def store_output(instance: DagsterInstance, run: dg.DagsterRun, container: RunContainer, docker: Docker) -> None:
    """Stores the end of a container's output with its run. If Docker cannot read the log, the event says so."""
    try:
        output = printable(docker.tail(container.name, LINES))
    except DockerError as error:
        if error.status not in NO_LOG:
            raise
        output = f"(Docker cannot read its log: {error})"
    ending = f"exit code {container.exit_code}"
    if container.oom_killed:
        ending += f", killed: out of memory (limit {container.memory / 2**20:g} MB, setting RUN_MEMORY_LIMIT)"
    elif container.state == "created":
        ending = f"never started: {container.error or 'Docker gives no reason'}"
    metadata: dict[str, Any] = {
        "last output": dg.MetadataValue.md(fenced(output)),
        "exit code": container.exit_code,
        "out of memory": container.oom_killed,
        "ended": dg.MetadataValue.timestamp(container.ended_at),
        CONTAINER: container.id,
    }
    message = (
        f"The run's container ended ({ending}). The end of its output, also from outside of steps, is stored here."
    )
    instance.report_engine_event(message, run, EngineEventData(metadata))


def printable(output: bytes) -> str:
    """Decodes the end of an output, at most 16,000 bytes from the start of a line, without colors and NUL."""
    text = ESCAPE.sub("", output.decode(errors="replace")).replace("\x00", "").rstrip()
    encoded = text.encode()
    if len(encoded) > MOST_BYTES:
        text = encoded[-MOST_BYTES:].decode(errors="ignore")
        text = text[text.find("\n") + 1 :]
    return text or "(nothing)"


def fenced(text: str) -> str:
    """Returns a Markdown code block whose fence is longer than any in the text."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
