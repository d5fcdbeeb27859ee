"""The asset ``taxi_zones``: the TLC's lookup of its taxi zones, and their shapes."""

from collections.abc import Iterator

import dagster as dg

from ingestion_location.defs.zones.zone_files import COLUMNS, Zone, read_shapes, read_zones
from ingestion_location.defs.zones.zones_table import replace_ledger, replace_zones
from ingestion_location.download import FileVersion
from ingestion_location.load_errors import reporting_failures
from ingestion_location.progress import Log
from ingestion_location.source import TlcSource
from ingestion_location.source_errors import FileUnavailable
from ingestion_location.warehouse import Warehouse

COLUMN_SCHEMA = dg.TableSchema(
    columns=[
        *(dg.TableColumn(name, kind, description) for name, kind, _, description in COLUMNS),
        dg.TableColumn("geometry", "text", "Shape of the zone as GeoJSON, WGS 84; null where the TLC publishes none."),
    ]
)
SHAPES_CHECK = dg.AssetCheckSpec(
    "zones_have_shapes",
    asset="taxi_zones",
    description="The source has the shapefile of the zones, and every shape in it belongs to a zone of the lookup.",
)


def fetch_zones(tlc: TlcSource, log: Log) -> tuple[list[Zone], dict[int, str] | None, list[FileVersion]]:
    """Fetches the lookup and the shapes, None if the source has no shapefile; also returns the files themselves."""
    with tlc.fetch(tlc.zones_url, log) as lookup:
        zones = read_zones(lookup.file, tlc.zones_url)
    try:
        with tlc.fetch(tlc.zone_shapes_url, log) as archive:
            return zones, read_shapes(archive.file, tlc.zone_shapes_url), [lookup, archive]
    except FileUnavailable as error:
        log(str(error))
        return zones, None, [lookup]


@dg.asset(
    group_name="raw_taxis",
    kinds={"csv", "postgres"},
    owners=["team:ingestion"],
    tags={"layer": "raw"},
    metadata={"dagster/column_schema": COLUMN_SCHEMA, "dagster/table_name": "warehouse.raw_taxis.zones"},
    check_specs=[SHAPES_CHECK],
)
def taxi_zones(
    context: dg.AssetExecutionContext, tlc: TlcSource, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[None]]:
    """The TLC's taxi zones, as published, with their shapes, in `raw_taxis.zones`. Grain: one zone."""
    with reporting_failures(context, warehouse, "zones"):
        zones, shapes, files = fetch_zones(tlc, context.log.info)
        with warehouse.transaction() as connection, connection.cursor() as cursor:
            replace_zones(cursor, zones, shapes or {})
            replace_ledger(cursor, files, context.run.run_id)
    numbers, shape_numbers = {zone[0] for zone in zones}, set(shapes or {})
    shapes_without_zone = sorted(shape_numbers - numbers)
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(zones),
            "url": dg.MetadataValue.url(tlc.zones_url),
            "shapes_url": dg.MetadataValue.url(tlc.zone_shapes_url),
            "zones_without_shape": sorted(numbers - shape_numbers),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=SHAPES_CHECK.name,
                passed=shapes is not None and not shapes_without_zone,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"has_shapefile": shapes is not None, "shapes_without_zone": shapes_without_zone},
            )
        ],
    )
