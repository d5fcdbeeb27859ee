"""The job ``prune_run_history``, and the schedule that runs it every night."""

import time

import dagster as dg
from pydantic import Field

from platform_location.compute_logs import prune_folders
from platform_location.history import prune
from platform_location.settings import DAY_SECONDS, read_settings

SETTINGS = read_settings()


class PruneConfig(dg.Config):
    """What to prune.

    Attributes:
        dry_run: says what would go, and deletes nothing.
        keep_days: for so many days after its end a run keeps its whole log.
    """

    dry_run: bool = Field(default=False, description="Say what would go, and delete nothing.")
    keep_days: int = Field(
        default=SETTINGS.history_days, ge=1, description="For so many days after its end a run keeps its whole log."
    )


@dg.op(
    out=dg.Out(dg.Nothing),
    description=(
        "Deletes the events that only a reader of the run's log reads, and the folders of the compute logs. The events "
        "of assets and checks, the run's changes of status, and start, end, outputs and failures of steps stay."
    ),
)
def prune_events_and_logs(context: dg.OpExecutionContext, config: PruneConfig) -> None:
    """Prunes what belongs to runs that ended more than ``keep_days`` days ago; the numbers are on the op's output."""
    ended_before = time.time() - config.keep_days * DAY_SECONDS
    events = prune(context.instance, ended_before, dry_run=config.dry_run, say=context.log.info)
    folders = prune_folders(context.instance, ended_before, dry_run=config.dry_run)
    rows = [dg.TableRecord({"event type": each.event_type, "rows": each.rows, "bytes": each.bytes}) for each in events]
    context.add_output_metadata(
        {
            "dry run": config.dry_run,
            "runs that ended before": dg.MetadataValue.timestamp(ended_before),
            "event rows": sum(each.rows for each in events),
            "event bytes": sum(each.bytes for each in events),
            "compute log folders": folders.number,
            "compute log bytes": folders.bytes,
            **({"by event type": dg.MetadataValue.table(rows)} if rows else {}),
        }
    )


@dg.job(
    # One container and one process: there is one step.
    executor_def=dg.in_process_executor,
    description="Prunes the log of runs that ended long ago. With dry_run it says what would go, and deletes nothing.",
)
def prune_run_history() -> None:
    """Prunes the history."""
    prune_events_and_logs()


nightly_pruning = dg.ScheduleDefinition(
    name="nightly_pruning",
    job=prune_run_history,
    cron_schedule="30 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING if SETTINGS.housekeeping else dg.DefaultScheduleStatus.STOPPED,
    description="Prunes the history at 04:30 UTC.",
)
