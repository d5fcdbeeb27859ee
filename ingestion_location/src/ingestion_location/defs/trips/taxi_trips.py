"""The asset ``taxi_trips``: one TLC trip file a month."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg

from ingestion_location.defs.trips.chart import bars_by_day
from ingestion_location.defs.trips.checks import CHECKS, describe, evaluate
from ingestion_location.defs.trips.month_load import LoadedMonth, load_month, read_month
from ingestion_location.defs.trips.trip_schema import BOUNDS, COLUMNS
from ingestion_location.download import Unchanged
from ingestion_location.load_errors import reporting_failures
from ingestion_location.partitions import monthly_partition
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse

COLUMN_SCHEMA = dg.TableSchema(
    columns=[dg.TableColumn(column.name, column.postgres, column.description) for column in COLUMNS]
)
# The TLC publishes a month about two months after its end, and the next one a month later.
FRESHNESS = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=75), fail_window=timedelta(days=100))


class TripsConfig(dg.Config):
    """How a month is loaded.

    Attributes:
        skip_unchanged: skip a month if the source still has the file that it was loaded from. The run then records a
            materialization only if Dagster has none of the month, so nothing downstream is built again.
        accept_strays: load a file even if it has no trip of the month, or if many trips are outside of it.
    """

    skip_unchanged: bool = False
    accept_strays: bool = False


@dg.asset(
    partitions_def=monthly_partition,
    group_name="raw_taxis",
    kinds={"parquet", "postgres"},
    owners=["team:ingestion"],
    tags={"layer": "raw"},
    metadata={"dagster/column_schema": COLUMN_SCHEMA, "dagster/table_name": "warehouse.raw_taxis.trips"},
    check_specs=CHECKS,
    # Limits the loads that run at the same time, which share the server's disk.
    pool="loading",
    # A range that has ended gets no new month.
    freshness_policy=FRESHNESS if monthly_partition.end is None else None,
    # Nothing is recorded for a month that is skipped.
    output_required=False,
)
def taxi_trips(
    context: dg.AssetExecutionContext, config: TripsConfig, tlc: TlcSource, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Every trip of the TLC's monthly file, in one schema for all eras, in `raw_taxis.trips`.

    Trips picked up outside the file's month are in `raw_taxis.stray_trips`; the file that each month came from is in
    `raw_taxis.trip_files`. Grain: one trip record.
    """
    window = context.partition_time_window
    start, end = window.start.replace(tzinfo=None), window.end.replace(tzinfo=None)
    with reporting_failures(context, warehouse, f"{start:%Y-%m}"):
        try:
            month = load_month(
                tlc,
                warehouse,
                start,
                end,
                context.run.run_id,
                context.log.info,
                skip_unchanged=config.skip_unchanged,
                accept_strays=config.accept_strays,
            )
        except Unchanged as unchanged:
            month = read_month(warehouse, start, end)
            # The ledger's record is as good as a load if Dagster's was wiped, or lost with a run between the two.
            record = context.partition_key not in context.instance.get_materialized_partitions(context.asset_key)
            then = "recorded from the ledger, as Dagster has no record of it" if record else "nothing to do"
            context.log.info(f"{unchanged}: unchanged since it was loaded; {then}")
        else:
            record = True
    for name, absurd in month.absurd.items():
        context.log.warning(
            f"{month.file.url}: column {name}: numbers beyond {BOUNDS[name]:,.0f} in {absurd.trips:,} of the trips, "
            f"the largest {absurd.largest:,}. They are loaded and in all sums."
        )
    checks = evaluate(month.file, month.neighbours, month.by_day, absurd=month.absurd)
    if record:
        yield dg.MaterializeResult(metadata=_metadata(month), check_results=checks)
    else:
        yield from checks


def _metadata(month: LoadedMonth) -> dict[str, Any]:
    """The figures of a month; those that only a load counts are left out where it was recorded from the ledger."""
    file = month.file
    metadata = {
        "dagster/row_count": month.total_trips,
        "dagster/partition_row_count": file.trips,
        "rows": file.rows,
        "stray_trips": file.strays,
        "bytes": file.bytes,
        "url": dg.MetadataValue.url(file.url),
        "etag": file.etag or "none",
        "last_modified": file.last_modified or "none",
        "sha256": file.sha256,
        "loaded_by_run": file.run_id,
        "absurd_numbers": describe(month.absurd),
        "unknown_columns": file.unknown_columns,
        "missing_columns": file.missing_columns,
        "trips_per_day": dg.MetadataValue.md(bars_by_day(f"Trips per day, {file.month:%B %Y}", month.by_day)),
    }
    if month.stats:
        copy_seconds = month.seconds["copy"]
        metadata |= {
            "first_pickup": f"{month.stats.first_pickup or 'none'}",
            "last_pickup": f"{month.stats.last_pickup or 'none'}",
            "seconds": {phase: round(seconds, 2) for phase, seconds in month.seconds.items()},
            "rows_per_second": round(file.rows / copy_seconds) if copy_seconds else 0,
            "nulls": month.stats.nulls,
        }
    return metadata
