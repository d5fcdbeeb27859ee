"""What the tests of both launchers ask of an instance."""

from dagster import DagsterInstance, DagsterRun
from dagster._core.launcher.base import LaunchRunContext


def launched(instance: DagsterInstance, queued: DagsterRun) -> DagsterRun:
    """The run after its launch."""
    instance.add_run(queued)
    instance.run_launcher.launch_run(LaunchRunContext(queued, None))
    after = instance.get_run_by_id(queued.run_id)
    assert after is not None
    return after


def failures(instance: DagsterInstance, failed: DagsterRun) -> list[str]:
    """The messages of a run's events of failure."""
    events = [entry.dagster_event for entry in instance.all_logs(failed.run_id)]
    return [event.message or "" for event in events if event and event.is_failure]
