"""The partitions that this location's assets are built by, those of what it reads, and how many one run builds."""

import os
import warnings
from datetime import date

import dagster as dg

from dbt_location.settings import read_settings

# Both are in beta in the release that the lock pins; without this every command would say so.
for _feature in ("backfill_policy", "allow_nonexistent_upstream_partitions"):
    warnings.filterwarnings("ignore", category=dg.BetaWarning, message=f".*{_feature}.*")

_settings = read_settings()
_start = f"{_settings.taxi_start_date}"
_end = f"{_settings.taxi_end_date}" if _settings.taxi_end_date else None

# One partition per calendar day.
daily_partition = dg.DailyPartitionsDefinition(start_date=_start, end_date=_end)
# One partition per calendar month, named by its first day.
monthly_partition = dg.MonthlyPartitionsDefinition(start_date=_start, end_date=_end)

# What a dbt source may call its partitions by (`meta.dagster.partitions` in the sources file).
SOURCE_PARTITIONS = {"daily": daily_partition, "monthly": monthly_partition}

# Most days that one run builds: a year. Dagster plans one event per day and asset, one by one, before a run's first
# step, so ten years in one run would plan 14,600 of them before anything is built, and any failure would lose them all.
# A run of a year takes 440 MB, the tenth as much as the first (make bench-windows).
MAX_DAYS_PER_RUN = 366

# By default Dagster stores a run's materializations one by one, each with new connections. With this variable, which
# the process that runs the assets reads, it stores an asset's days together.
os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(MAX_DAYS_PER_RUN))


def backfill_policy(start: date, end: date | None) -> dg.BackfillPolicy:
    """How a backfill of days ``[start, end)`` is cut into runs, the same for every daily asset so that they share runs.

    A range that fits into one run as a whole needs no limit, and only without one can
    ``dagster asset materialize --partition-range`` build it: that command refuses every policy but single_run.
    """
    if end is not None and (end - start).days <= MAX_DAYS_PER_RUN:
        return dg.BackfillPolicy.single_run()
    return dg.BackfillPolicy.multi_run(max_partitions_per_run=MAX_DAYS_PER_RUN)


BACKFILL_POLICY = backfill_policy(_settings.taxi_start_date, _settings.taxi_end_date)
# A picture or a page is of one month, so a backfill of months is a run for each.
MONTHLY_BACKFILL_POLICY = dg.BackfillPolicy.multi_run(1)
