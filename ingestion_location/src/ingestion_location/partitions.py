"""The partitions of this location's assets."""

import dagster as dg

from ingestion_location.settings import read_settings

_settings = read_settings()

# One partition per TLC file; its key is the first day of the month, 2023-01-01.
monthly_partition = dg.MonthlyPartitionsDefinition(
    start_date=_settings.taxi_start_date.isoformat(),
    end_date=_settings.taxi_end_date.isoformat() if _settings.taxi_end_date else None,
)
