"""The asset ``taxi_trips``: one TLC trip file a month."""

import dagster as dg

from ingestion_location.partitions import monthly_partition
from ingestion_location.source import SourceError, TlcSource, fetch
from ingestion_location.trip_file import TripFile
from ingestion_location.trip_schema import COLUMNS, TripFileError
from ingestion_location.trips_table import replace_month
from ingestion_location.warehouse import Warehouse

COLUMN_SCHEMA = dg.TableSchema(
    columns=[dg.TableColumn(column.name, column.postgres, column.description) for column in COLUMNS]
)


@dg.asset(
    partitions_def=monthly_partition,
    group_name="raw_taxis",
    kinds={"parquet", "postgres"},
    owners=["team:ingestion"],
    metadata={
        "dagster/column_schema": COLUMN_SCHEMA,
        "dagster/table_name": "warehouse.raw_taxis.trips",
    },
)
def taxi_trips(context: dg.AssetExecutionContext, tlc: TlcSource, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """Every trip of the TLC's monthly file, in one schema for all eras, in `raw_taxis.trips`.

    Trips picked up outside the file's month are kept apart in `raw_taxis.stray_trips`. Grain: one trip record.
    """
    window = context.partition_time_window
    start, end = window.start.replace(tzinfo=None), window.end.replace(tzinfo=None)
    url = tlc.trips_url(start.date())
    try:
        with fetch(url) as path:
            file = TripFile(path, url)
            context.log.info(f"{url}: {file.rows:,} rows, {path.stat().st_size:,} bytes")
            with warehouse.transaction() as connection:
                loaded = replace_month(connection, file.batches(), start, end)
    except (SourceError, TripFileError) as error:
        # The message says it all; a stack trace would only hide it.
        raise dg.Failure(str(error), allow_retries=isinstance(error, SourceError)) from None
    if file.mapping.unknown:
        context.log.warning(f"{url}: columns that no one asked for: {', '.join(file.mapping.unknown)}")
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": loaded.trips,
            "stray_trips": loaded.strays,
            "url": dg.MetadataValue.url(url),
            "unknown_columns": list(file.mapping.unknown),
        }
    )
