"""The asset ``taxi_zones``: the TLC's lookup of its taxi zones."""

import csv
import io
from pathlib import Path

import dagster as dg
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.source import SourceError, TlcSource, fetch
from ingestion_location.warehouse import Warehouse

ZONES = sql.Identifier("raw_taxis", "zones")
# Column in the warehouse, its type, the TLC's name for it, description.
COLUMNS = (
    ("zone_id", "smallint", "LocationID", "TLC's number of the zone."),
    ("borough", "text", "Borough", "Borough, EWR for Newark; Unknown or N/A where the TLC says so."),
    ("zone", "text", "Zone", "Name of the zone."),
    ("service_zone", "text", "service_zone", "Who may pick up there: Yellow Zone, Boro Zone, Airports, EWR or N/A."),
)


class ZoneFileError(ValueError):
    """A zone lookup that cannot be loaded; the message names the file, the column and the next step."""


def read_zones(path: Path, name: str) -> list[tuple[int, str, str, str]]:
    """Reads the lookup; every value stays the text that the TLC wrote, the literal ``N/A`` included.

    Args:
        path: local CSV file.
        name: what error messages call it.

    Raises:
        ZoneFileError: a column is missing, a zone's number is not one or appears twice, or there are no zones.
    """
    zones: dict[int, tuple[int, str, str, str]] = {}
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
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


def replace_zones(connection: Connection, zones: list[tuple[int, str, str, str]]) -> None:
    """Replaces all zones; the caller's transaction commits it, so readers see the old zones or the new ones."""
    with connection.cursor() as cursor:
        definitions = ", ".join(f"{name} {kind} not null" for name, kind, _, _ in COLUMNS)
        # Two first loads at once would both find the table missing; here one of them looks after the other made it.
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('raw_taxis.zones', 0))")
        cursor.execute(
            sql.SQL("create table if not exists {} ({}, primary key (zone_id))").format(ZONES, sql.SQL(definitions))
        )
        # Not truncate: it would show an empty table to readers whose transaction is older.
        cursor.execute(sql.SQL("delete from {}").format(ZONES))
        cursor.executemany(sql.SQL("insert into {} values (%s, %s, %s, %s)").format(ZONES), zones)


@dg.asset(
    group_name="raw_taxis",
    kinds={"csv", "postgres"},
    owners=["team:ingestion"],
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(name, kind, description) for name, kind, _, description in COLUMNS]
        ),
        "dagster/table_name": "warehouse.raw_taxis.zones",
    },
)
def taxi_zones(tlc: TlcSource, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """The TLC's taxi zones, as published, in `raw_taxis.zones`. Grain: one zone."""
    try:
        with fetch(tlc.zones_url) as path:
            zones = read_zones(path, tlc.zones_url)
    except (SourceError, ZoneFileError) as error:
        raise dg.Failure(str(error), allow_retries=isinstance(error, SourceError)) from None
    with warehouse.transaction() as connection:
        replace_zones(connection, zones)
    return dg.MaterializeResult(metadata={"dagster/row_count": len(zones), "url": dg.MetadataValue.url(tlc.zones_url)})
