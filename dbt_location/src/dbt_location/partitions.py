"""The partitions that this location's assets are built by, and those of what it reads."""

import warnings

import dagster as dg

from dbt_location.settings import read_range

# BackfillPolicy is in beta in the release that the lock pins; without this every command would say so.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*backfill_policy.*")

_start_date, _end_date = read_range()
_start = _start_date.isoformat()
_end = _end_date.isoformat() if _end_date else None

# One partition per calendar day.
daily_partition = dg.DailyPartitionsDefinition(start_date=_start, end_date=_end)
# One partition per calendar month, named by its first day.
monthly_partition = dg.MonthlyPartitionsDefinition(start_date=_start, end_date=_end)

# What a dbt source may call its partitions by (`meta.dagster.partitions` in the sources file).
SOURCE_PARTITIONS: dict[str, dg.PartitionsDefinition[str]] = {
    "daily": daily_partition,
    "monthly": monthly_partition,
}
