"""The asset ``taxi_zones``: the TLC's lookup of its taxi zones, and their shapes, in ``raw_taxis.zones``.

Its ledger ``raw_taxis.zone_files`` has the files that the zones came from.
"""

from collections.abc import Iterator, Mapping

import dagster as dg
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from ingestion_location.defs.zones.zone_files import COLUMNS, Zone, read_shapes, read_zones
from ingestion_location.download import FileVersion
from ingestion_location.ledger import Ledger, LoadedFile
from ingestion_location.load_errors import reporting_failures
from ingestion_location.locks import create_and_commit
from ingestion_location.progress import Log
from ingestion_location.source import TlcSource
from ingestion_location.source_errors import FileUnavailable
from ingestion_location.warehouse import Warehouse

ZONES = sql.Identifier("raw_taxis", "zones")
# The files of the zones are read into memory as a whole.
BOUND = "tlc_max_zones_mb"
ZONE_FILES = Ledger("zone_files", LoadedFile, "primary key (url)")
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
    with tlc.fetch(tlc.zones_url, log, bound=BOUND) as lookup:
        zones = read_zones(lookup.file, tlc.zones_url)
    try:
        with tlc.fetch(tlc.zone_shapes_url, log, bound=BOUND) as archive:
            return zones, read_shapes(archive.file, tlc.zone_shapes_url), [lookup, archive]
    except FileUnavailable as error:
        log(str(error))
        return zones, None, [lookup]


def create_tables(cursor: Cursor) -> None:
    """Creates the tables of the zones and their ledger."""
    definitions = sql.SQL(", ".join(f"{name} {kind} not null" for name, kind, _, _ in COLUMNS))
    create = sql.SQL("create table if not exists {} ({}, geometry text, primary key (zone_id))")
    cursor.execute(create.format(ZONES, definitions))
    ZONE_FILES.create(cursor)


def replace_zones(connection: Connection, zones: list[Zone], shapes: Mapping[int, str]) -> None:
    """Replaces all zones.

    The caller's transaction commits the whole table at once, so any order, repetition, overlap or crash of loads leaves
    the zones of one of them.

    Args:
        connection: open connection, without a transaction.
    """
    create_and_commit(connection, create_tables)
    with connection.cursor() as cursor:
        # Loads take turns, and readers do not wait. Only the table's owner can take this lock.
        cursor.execute(sql.SQL("lock table {} in share row exclusive mode").format(ZONES))
        # Not truncate: readers with an older snapshot would see an empty table.
        cursor.execute(sql.SQL("delete from {}").format(ZONES))
        insert = sql.SQL("insert into {} values (%s, %s, %s, %s, %s)").format(ZONES)
        cursor.executemany(insert, [(*zone, shapes.get(zone[0])) for zone in zones])


def replace_ledger(cursor: Cursor, files: list[FileVersion], run_id: str) -> None:
    """Records the files that the zones came from, in the transaction that replaces the zones."""
    ZONE_FILES.replace(cursor, [LoadedFile.of(file, run_id) for file in files])


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
            replace_zones(connection, zones, shapes or {})
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
