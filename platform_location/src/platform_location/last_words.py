"""What the container of a run that did not succeed printed last, and how it ended, as an event of the run.

What a step prints is in the compute logs, on a volume. What a run prints outside of its steps (an import error, a crash
before the first step) is in Docker's log of the container alone, and goes with it.
"""

import re

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.events import EngineEventData

from platform_location.docker_api import NO_LOG, Docker, DockerError
from platform_location.run_containers import RunContainer

LINES = 200
MOST_BYTES = 16_000

# The metadata entry by which an event is known as this one, and of which container it is.
CONTAINER = "container"

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def attached_containers(instance: DagsterInstance, run_id: str) -> set[str]:
    """The containers of a run whose last words are among its events."""
    found = set()
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        container = entry.get_dagster_event().engine_event_data.metadata.get(CONTAINER)
        if container is not None:
            found.add(str(container.value))
    return found


def attach(instance: DagsterInstance, run: dg.DagsterRun, container: RunContainer, docker: Docker) -> None:
    """Writes the last words of a container to its run.

    Raises:
        DockerError: Docker does not answer, or the container is gone. Where Docker has no log that it could give back,
            the event says so.
    """
    try:
        printed = printable(docker.tail(container.id, LINES))
    except DockerError as error:
        if error.status not in NO_LOG:
            raise
        printed = f"(Docker does not give it back: {error})"
    how = f"exit code {container.exit_code}"
    if container.oom_killed:
        how += ", ended by the kernel: out of memory"
    elif container.state == "created":
        how = f"never started: {container.error or 'Docker says no reason'}"
    instance.report_engine_event(
        f"The run's container ended ({how}). What it printed last, outside of steps too, is kept here.",
        dagster_run=run,
        engine_event_data=EngineEventData(
            {
                "printed last": dg.MetadataValue.md(fenced(printed)),
                "exit code": container.exit_code,
                "out of memory": container.oom_killed,
                "ended": dg.MetadataValue.timestamp(container.ended_at),
                CONTAINER: container.id,
            }
        ),
    )


def printable(output: bytes) -> str:
    """The end of an output as text that can be stored and shown: without colors and NUL, cut at a line's start.

    Args:
        output: what was printed.

    Returns:
        At most 16,000 bytes of UTF-8.
    """
    text = _ESCAPE.sub("", output.decode(errors="replace")).replace("\x00", "").rstrip()
    encoded = text.encode()
    if len(encoded) > MOST_BYTES:
        text = encoded[-MOST_BYTES:].decode(errors="ignore")
        text = text[text.find("\n") + 1 :]
    return text or "(nothing)"


def fenced(text: str) -> str:
    """A block of code in Markdown, by a fence that is longer than any in the text."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
