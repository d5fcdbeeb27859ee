"""The partitions that this location's assets are built by."""

import dagster as dg

from ingestion_location.settings import read_month_range

_start, _end = read_month_range()

# One partition per TLC file; its key is the first day of the month, 2023-01-01.
monthly_partition = dg.MonthlyPartitionsDefinition(
    start_date=_start.isoformat(), end_date=_end.isoformat() if _end else None
)
