"""Describes a failed run, from what the instance knows of it."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance

from platform_location.stored_events import StoredEvent, events_of_run

LONGEST_REASON = 1_000
MOST_ASSETS = 50
WILL_RETRY = "dagster/will_retry"
RETRY_NUMBER = "dagster/retry_number"
PARTITION = "dagster/partition"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class RunFailure:
    """A failed run, as its notification describes it; docs/housekeeping.md describes the fields.

    ``failed_at`` is in ISO 8601, UTC. ``failed_step`` is None if the run failed outside of its steps or was lost.
    """

    run_id: str
    url: str
    job: str
    location: str | None
    assets: tuple[str, ...]
    partition: str | None
    partition_range: tuple[str, str] | None
    failed_at: str
    failed_step: str | None
    reason: str
    will_retry: bool
    retry_number: int

    @property
    def text(self) -> str:
        """The same as a few lines for a person."""
        what = ", ".join(self.assets) or self.job
        if self.partition_range:
            what += f" [{self.partition_range[0]} to {self.partition_range[1]}]"
        elif self.partition:
            what += f" [{self.partition}]"
        then = "Dagster retries it." if self.will_retry else "Dagster does not retry it."
        tried = f" (retry {self.retry_number})" if self.retry_number else ""
        where = f" in {self.location}" if self.location else ""
        return f"Run failed{tried}: {what}{where}\n{self.reason}\n{then}\n{self.url}"

    def message(self) -> dict[str, Any]:
        return {**asdict(self), "text": self.text}


def describe(instance: DagsterInstance, run: dg.DagsterRun, failure: StoredEvent, dagster_url: str) -> RunFailure:
    """Describes a failed run, given the event of its failure and the address of the UI without a trailing slash."""
    step, reason = _reason(instance, run, failure)
    origin = run.remote_job_origin
    tags = run.tags
    in_range = RANGE_START in tags and RANGE_END in tags
    return RunFailure(
        run_id=run.run_id,
        url=f"{dagster_url}/runs/{run.run_id}",
        job=run.job_name,
        location=origin.repository_origin.code_location_origin.location_name if origin else None,
        assets=tuple(sorted(key.to_user_string() for key in _assets(instance, run))[:MOST_ASSETS]),
        partition=tags.get(PARTITION),
        partition_range=(tags[RANGE_START], tags[RANGE_END]) if in_range else None,
        failed_at=datetime.fromtimestamp(failure.timestamp, UTC).isoformat(timespec="seconds"),
        failed_step=step,
        reason=_trimmed(str(reason)),
        will_retry=tags.get(WILL_RETRY) == "true",
        retry_number=int(tags.get(RETRY_NUMBER, "0")),
    )


def _assets(instance: DagsterInstance, run: dg.DagsterRun) -> set[dg.AssetKey]:
    """The assets that were selected, or those that the run planned if a whole job was launched."""
    if run.asset_selection:
        return set(run.asset_selection)
    planned = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    return set(instance.event_log_storage.get_asset_partitions_for_run(run.run_id, of_type=planned))


def _reason(instance: DagsterInstance, run: dg.DagsterRun, failure: StoredEvent) -> tuple[str | None, str]:
    """The step that failed first and its error, or None and the error of the whole run if no step failed."""
    (first,) = [*events_of_run(instance, run.run_id, DagsterEventType.STEP_FAILURE, limit=1), failure][:1]
    try:
        event = first.entry().get_dagster_event()
        if first is failure:
            error = event.job_failure_data.error if event.event_specific_data else None
            said = [event.message, (error.cause or error).message if error else None]
            return None, "\n".join(filter(None, said))
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return event.step_key, data.user_failure_data.description
        if data.error:
            # Dagster wraps what the step raised.
            return event.step_key, (data.error.cause or data.error).message
        return event.step_key, event.message or ""
    except Exception as problem:
        # Nobody else's notification waits for an event that a location stored in a form that Dagster cannot read.
        return (
            None,
            f"The event {first.storage_id}, which says why, cannot be read: {type(problem).__name__}: {problem}",
        )


def _trimmed(reason: str) -> str:
    reason = reason.strip() or "No reason was given."
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + "…"
