"""What this code location offers to Dagster."""

import dagster as dg

from platform_location.notify_run_failure import notify_run_failure
from platform_location.prune_run_history import nightly_pruning, prune_run_history
from platform_location.reaper import reaper

defs = dg.Definitions(
    jobs=[prune_run_history],
    schedules=[nightly_pruning],
    sensors=[notify_run_failure, reaper],
)
