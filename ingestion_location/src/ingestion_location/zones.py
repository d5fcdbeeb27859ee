"""The asset ``taxi_zones``: the TLC's lookup of its taxi zones, and their shapes."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import IO

import dagster as dg
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location import passing, zone_files
from ingestion_location.download import FileUnavailable, SourceError, SourceFile
from ingestion_location.progress import Say
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse
from ingestion_location.zone_shapes import ZoneFileError, read_shapes

ZONES = sql.Identifier("raw_taxis", "zones")
# Column in the warehouse, its type, the TLC's name for it, description.
COLUMNS = (
    ("zone_id", "smallint", "LocationID", "TLC's number of the zone."),
    ("borough", "text", "Borough", "Borough, EWR for Newark; Unknown or N/A where the TLC says so."),
    ("zone", "text", "Zone", "Name of the zone."),
    ("service_zone", "text", "service_zone", "Who may pick up there: Yellow Zone, Boro Zone, Airports, EWR or N/A."),
)


Zone = tuple[int, str, str, str]
GEOMETRY = dg.TableColumn(
    "geometry", "text", "Shape of the zone as GeoJSON, WGS 84; null where the TLC publishes none."
)
SHAPES_CHECK = dg.AssetCheckSpec(
    "zones_have_shapes",
    asset="taxi_zones",
    description="The source has the shapefile of the zones, and every shape in it belongs to a zone of the lookup.",
)


def read_zones(file: IO[bytes], name: str) -> list[Zone]:
    """Reads the lookup; every value stays the text that the TLC wrote, the literal ``N/A`` included.

    Args:
        file: the CSV file.
        name: what error messages call it.

    Raises:
        ZoneFileError: a column is missing, a zone's number is not one or appears twice, or there are no zones.
    """
    zones: dict[int, Zone] = {}
    try:
        reader = csv.DictReader(io.StringIO(file.read().decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise ZoneFileError(f"{name}: this is not a CSV text file ({error}). Check TLC_BASE_URL.") from error
    names = reader.fieldnames or ()
    for _, _, source, _ in COLUMNS:
        if source not in names:
            raise ZoneFileError(
                f"{name}: the column {source} is missing; the file has {', '.join(names) or 'no columns'}. "
                "Check that TLC_BASE_URL points to the TLC's files."
            )
    for row in reader:
        number = row["LocationID"]
        if not number.isdecimal() or int(number) in zones:
            raise ZoneFileError(
                f"{name}, line {reader.line_num}: LocationID {number!r} is not a number or appears twice. "
                "Compare the file with the TLC's and load the zones again."
            )
        zones[int(number)] = (int(number), row["Borough"], row["Zone"], row["service_zone"])
    if not zones:
        raise ZoneFileError(f"{name}: the file has no zones. Check TLC_BASE_URL.")
    return list(zones.values())


def replace_zones(connection: Connection, zones: list[Zone], shapes: Mapping[int, str]) -> None:
    """Replaces all zones; the caller's transaction commits it, so readers see the old zones or the new ones."""
    with connection.cursor() as cursor:
        definitions = ", ".join(f"{name} {kind} not null" for name, kind, _, _ in COLUMNS)
        # Two first loads at once would both find the table missing; here one of them looks after the other made it.
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('raw_taxis.zones', 0))")
        cursor.execute(
            sql.SQL("create table if not exists {} ({}, geometry text, primary key (zone_id))").format(
                ZONES, sql.SQL(definitions)
            )
        )
        cursor.execute(
            "select 1 from pg_attribute where attrelid = 'raw_taxis.zones'::regclass and attname = 'geometry'"
        )
        if cursor.fetchone() is None:  # a warehouse from before the shapes
            cursor.execute(sql.SQL("alter table {} add column geometry text").format(ZONES))
        # Not truncate: it would show an empty table to readers whose transaction is older.
        cursor.execute(sql.SQL("delete from {}").format(ZONES))
        cursor.executemany(
            sql.SQL("insert into {} values (%s, %s, %s, %s, %s)").format(ZONES),
            [(*zone, shapes.get(zone[0])) for zone in zones],
        )


def fetch_zones(tlc: TlcSource, say: Say) -> tuple[list[Zone], dict[int, str] | None, list[SourceFile]]:
    """Fetches the lookup and the shapes, and says which files; None for the shapes where there is no shapefile.

    Raises:
        SourceError: a file could not be fetched.
        ZoneFileError: a file cannot be loaded.
    """
    with tlc.fetch(tlc.zones_url, say) as lookup:
        zones = read_zones(lookup.file, tlc.zones_url)
    try:
        with tlc.fetch(tlc.zone_shapes_url, say) as archive:
            return zones, read_shapes(archive.file, tlc.zone_shapes_url), [lookup, archive]
    except FileUnavailable as error:
        say(str(error))
        return zones, None, [lookup]


@dg.asset(
    group_name="raw_taxis",
    kinds={"csv", "postgres"},
    owners=["team:ingestion"],
    tags={"layer": "raw"},
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[*(dg.TableColumn(name, kind, description) for name, kind, _, description in COLUMNS), GEOMETRY]
        ),
        "dagster/table_name": "warehouse.raw_taxis.zones",
    },
    check_specs=[SHAPES_CHECK],
)
def taxi_zones(
    context: dg.AssetExecutionContext, tlc: TlcSource, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[None]]:
    """The TLC's taxi zones, as published, with their shapes, in `raw_taxis.zones`. Grain: one zone."""
    try:
        zones, shapes, files = fetch_zones(tlc, context.log.info)
        with warehouse.transaction() as connection:
            replace_zones(connection, zones, shapes or {})
            with connection.cursor() as cursor:
                zone_files.replace(cursor, files, context.run.run_id)
    except (SourceError, ZoneFileError) as error:
        retry = isinstance(error, SourceError) and error.retry
        if retry:
            passing.mark(context)
        raise dg.Failure(str(error), allow_retries=retry) from None
    except psycopg2.Error as error:
        if warehouse.is_away(error):
            passing.mark(context)
        raise dg.Failure(f"zones: {warehouse.explain(error)}") from error
    numbers = {zone[0] for zone in zones}
    without_shape = sorted(numbers - set(shapes or {}))
    without_zone = sorted(set(shapes or {}) - numbers)
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(zones),
            "url": dg.MetadataValue.url(tlc.zones_url),
            "shapes_url": dg.MetadataValue.url(tlc.zone_shapes_url),
            "zones_without_shape": without_shape,
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=SHAPES_CHECK.name,
                passed=shapes is not None and not without_zone,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"has_shapefile": shapes is not None, "shapes_without_zone": without_zone},
            )
        ],
    )
