"""Decides what happens to a run's container, given its state in Docker and the run's status; calls neither."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import dagster as dg

from platform_location.settings import Settings

RUN_ID = "dagster/run_id"  # The launcher sets this label on every container that it creates.
# A container that was created and never started counts as ended: its run failed between the two.
ENDED = ("exited", "dead", "created")
FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


class Verdict(Enum):
    """What happens to a container, in the words of the tick."""

    RUNS = "running"
    LEFT_BEHIND = "still running after the end of its run"
    RUN_GOES_ON = "ended before its run did"
    KEPT = "kept"
    REMOVED = "removed"


@dataclass(frozen=True)
class RunContainer:
    """A container that the launcher created for a run, named after it.

    ``state`` is Docker's word: created, running, paused, restarting, removing, exited or dead. ``ended_at`` is when it
    was created if it never started; ``error`` is then Docker's reason.
    ``memory`` is the limit in bytes.
    """

    id: str
    name: str
    run_id: str
    state: str
    ended_at: datetime
    exit_code: int
    oom_killed: bool
    memory: int
    error: str

    @classmethod
    def from_inspect(cls, inspected: dict[str, Any]) -> "RunContainer":
        state = inspected["State"]
        ended_at = state["FinishedAt"] if state["Status"] != "created" else inspected["Created"]
        return cls(
            id=inspected["Id"],
            name=inspected["Name"].removeprefix("/"),
            run_id=inspected["Config"]["Labels"][RUN_ID],
            state=state["Status"],
            # Docker writes nanoseconds.
            ended_at=datetime.fromisoformat(ended_at[:19] + "+00:00"),
            exit_code=state["ExitCode"],
            oom_killed=state["OOMKilled"],
            memory=inspected["HostConfig"]["Memory"],
            error=state.get("Error", ""),
        )


def is_unsuccessful(container: RunContainer, status: dg.DagsterRunStatus) -> bool:
    """Whether a container and its run have both ended, and the run did not succeed."""
    return container.state in ENDED and status in FINISHED and status is not dg.DagsterRunStatus.SUCCESS


def judge(container: RunContainer, status: dg.DagsterRunStatus | None, settings: Settings, now: datetime) -> Verdict:
    """Decides about one container.

    A container whose run has not ended is kept, whatever its own state, because run monitoring inspects it to find out
    how the run was lost. ``status`` is None for an unknown run, which counts as failed.
    """
    run_ended = status is None or status in FINISHED
    if container.state not in ENDED:
        return Verdict.LEFT_BEHIND if run_ended else Verdict.RUNS
    if not run_ended:
        return Verdict.RUN_GOES_ON
    succeeded = status is dg.DagsterRunStatus.SUCCESS
    seconds = settings.reap_succeeded_after_seconds if succeeded else settings.reap_failed_after_seconds
    return Verdict.REMOVED if (now - container.ended_at).total_seconds() >= seconds else Verdict.KEPT
