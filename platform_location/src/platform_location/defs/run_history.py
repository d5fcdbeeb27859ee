"""The job ``prune_run_history``, and the schedule that runs it every night."""

import time

import dagster as dg
from pydantic import Field

from platform_location.event_log import prune_audit, prune_events
from platform_location.settings import DAY_SECONDS, read_settings

SETTINGS = read_settings()


class PruneConfig(dg.Config):
    """What to prune; the fields describe themselves in the launchpad."""

    dry_run: bool = Field(default=False, description="Count what would be deleted, and delete nothing.")
    keep_days: int = Field(
        default=SETTINGS.history_days, ge=1, description="Number of days after its end for which a run keeps its log."
    )


@dg.op(
    out=dg.Out(dg.Nothing),
    description=(
        "Deletes the events that are only read as a run's log. The events of assets and checks, the run's changes of "
        "status, and start, end, outputs and failures of steps stay. Deletes lines of the audit of more than a year."
    ),
)
def prune_old_events(context: dg.OpExecutionContext, config: PruneConfig) -> None:
    ended_before = time.time() - config.keep_days * DAY_SECONDS
    events = prune_events(context.instance, ended_before, dry_run=config.dry_run, log=context.log.info)
    rows = [dg.TableRecord({"event type": each.event_type, "rows": each.rows, "bytes": each.bytes}) for each in events]
    context.add_output_metadata(
        {
            "dry run": config.dry_run,
            "runs that ended before": dg.MetadataValue.timestamp(ended_before),
            "event rows": sum(each.rows for each in events),
            "event bytes": sum(each.bytes for each in events),
            "lines of the audit": prune_audit(context.instance, dry_run=config.dry_run),
            **({"by event type": dg.MetadataValue.table(rows)} if rows else {}),
        }
    )


@dg.job(
    # There is one step, so one process is enough.
    executor_def=dg.in_process_executor,
    description="Prunes the log of runs that ended long ago. With dry_run it counts, and deletes nothing.",
)
def prune_run_history() -> None:
    prune_old_events()


nightly_pruning = dg.ScheduleDefinition(
    name="nightly_pruning",
    job=prune_run_history,
    cron_schedule="30 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING
    if SETTINGS.housekeeping == "on"
    else dg.DefaultScheduleStatus.STOPPED,
    description="Prunes the history at 04:30 UTC.",
)
