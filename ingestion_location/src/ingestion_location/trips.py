"""The asset ``taxi_trips``: one TLC trip file a month."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import psycopg2

from ingestion_location import passing
from ingestion_location.chart import bars_by_day
from ingestion_location.download import SourceError, Unchanged
from ingestion_location.locks import LockError
from ingestion_location.month_load import LoadedMonth, load_month, read_month
from ingestion_location.partitions import monthly_partition
from ingestion_location.source import TlcSource
from ingestion_location.trip_checks import CHECKS, evaluate
from ingestion_location.trip_schema import COLUMNS, TripFileError
from ingestion_location.warehouse import Warehouse

COLUMN_SCHEMA = dg.TableSchema(
    columns=[dg.TableColumn(column.name, column.postgres, column.description) for column in COLUMNS]
)
# The TLC publishes a month about two months after its end, then the next one a month later.
FRESHNESS = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=75), fail_window=timedelta(days=100))


class TripsConfig(dg.Config):
    """How a month is loaded.

    Attributes:
        skip_unchanged: leave the month as it is where the source still has the very file that it was loaded from. The
            run then records no materialization, so nothing downstream is built again.
    """

    skip_unchanged: bool = False


@dg.asset(
    partitions_def=monthly_partition,
    group_name="raw_taxis",
    kinds={"parquet", "postgres"},
    owners=["team:ingestion"],
    tags={"layer": "raw"},
    metadata={
        "dagster/column_schema": COLUMN_SCHEMA,
        "dagster/table_name": "warehouse.raw_taxis.trips",
    },
    check_specs=CHECKS,
    # Loads run side by side, but not so many that they wait for one server's disk.
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

    Trips picked up outside the file's month are kept apart in `raw_taxis.stray_trips`; where each month came from is in
    `raw_taxis.trip_files`. Grain: one trip record.
    """
    window = context.partition_time_window
    start, end = window.start.replace(tzinfo=None), window.end.replace(tzinfo=None)
    try:
        try:
            loaded = load_month(
                tlc, warehouse, start, end, context.run.run_id, context.log.info, skip_unchanged=config.skip_unchanged
            )
        except Unchanged as unchanged:
            context.log.info(f"{unchanged}: unchanged since it was loaded; nothing to do")
            yield from evaluate(*read_month(warehouse, start, end))
        else:
            yield dg.MaterializeResult(
                metadata=_metadata(loaded), check_results=evaluate(loaded.record, loaded.neighbours, loaded.by_day)
            )
    except (SourceError, TripFileError, LockError) as error:
        if error.retry:
            passing.mark(context)
        # The message says it all; a stack trace would only hide it.
        raise dg.Failure(str(error), allow_retries=error.retry) from None
    except psycopg2.Error as error:
        if warehouse.is_away(error):
            passing.mark(context)
        raise dg.Failure(f"{start:%Y-%m}: {warehouse.explain(error)}") from error


def _metadata(loaded: LoadedMonth) -> dict[str, Any]:
    record, stats = loaded.record, loaded.stats
    copy_seconds = loaded.seconds["copy"]
    return {
        "dagster/row_count": loaded.total_trips,
        "dagster/partition_row_count": record.trips,
        "rows": record.rows,
        "stray_trips": record.strays,
        "bytes": record.bytes,
        "url": dg.MetadataValue.url(record.url),
        "etag": record.etag or "none",
        "last_modified": record.last_modified or "none",
        "sha256": record.sha256,
        "first_pickup": f"{stats.first_pickup or 'none'}",
        "last_pickup": f"{stats.last_pickup or 'none'}",
        "seconds": {phase: round(seconds, 2) for phase, seconds in loaded.seconds.items()},
        "rows_per_second": round(record.rows / copy_seconds) if copy_seconds else 0,
        "nulls": stats.nulls,
        "unknown_columns": record.unknown_columns,
        "missing_columns": record.missing_columns,
        "trips_per_day": dg.MetadataValue.md(bars_by_day(f"Trips per day, {record.month:%B %Y}", loaded.by_day)),
    }
