"""The table ``raw_taxis.zones`` and its ledger ``raw_taxis.zone_files``, the files that the zones came from."""

from collections.abc import Iterable, Mapping

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.defs.zones.zone_files import COLUMNS, Zone
from ingestion_location.download import FileVersion
from ingestion_location.ledger import Ledger, LoadedFile

ZONES = sql.Identifier("raw_taxis", "zones")
ZONE_FILES = Ledger("zone_files", LoadedFile, "primary key (url)")


def replace_zones(cursor: Cursor, zones: list[Zone], shapes: Mapping[int, str]) -> None:
    """Replaces all zones.

    The caller's transaction commits the whole table at once, so any order, repetition, overlap or crash of loads leaves
    the zones of one of them.
    """
    definitions = sql.SQL(", ".join(f"{name} {kind} not null" for name, kind, _, _ in COLUMNS))
    # Without the lock two first loads at the same time would both try to create the table.
    cursor.execute("select pg_advisory_xact_lock(hashtextextended('raw_taxis.zones', 0))")
    create = sql.SQL("create table if not exists {} ({}, geometry text, primary key (zone_id))")
    cursor.execute(create.format(ZONES, definitions))
    # Not truncate: readers with an older snapshot would see an empty table.
    cursor.execute(sql.SQL("delete from {}").format(ZONES))
    insert = sql.SQL("insert into {} values (%s, %s, %s, %s, %s)").format(ZONES)
    cursor.executemany(insert, [(*zone, shapes.get(zone[0])) for zone in zones])


def replace_ledger(cursor: Cursor, files: Iterable[FileVersion], run_id: str) -> None:
    """Records the files that the zones came from, in the transaction that replaces the zones."""
    ZONE_FILES.create(cursor)
    ZONE_FILES.replace(cursor, [LoadedFile.of(file, run_id) for file in files])
