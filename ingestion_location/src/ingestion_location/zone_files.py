"""The ledger ``raw_taxis.zone_files``: which files the zones came from.

It is in the warehouse, written in the transaction that replaces the zones, so that the two never disagree. The asset's
metadata in Dagster could: a run may die between its commit and its event, and each of the two may be restored alone.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.download import SourceFile

ZONE_FILES = sql.Identifier("raw_taxis", "zone_files")


@dataclass(frozen=True)
class ZoneFileRecord:
    """One file's line in the ledger, which also has ``loaded_at``.

    Attributes:
        url: where the file came from.
        etag: the server's ETag, or None.
        last_modified: the server's Last-Modified, or None.
        bytes: size of the file.
        sha256: checksum of the file, in hex.
        run_id: the Dagster run that loaded it.
    """

    url: str
    etag: str | None
    last_modified: str | None
    bytes: int
    sha256: str
    run_id: str


_NAMES = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(ZoneFileRecord))


def replace(cursor: Cursor, files: Iterable[SourceFile], run_id: str) -> None:
    """Replaces the ledger by the files that the zones come from now; in the transaction that replaces the zones."""
    cursor.execute(
        sql.SQL(
            "create table if not exists {} (url text primary key, etag text, last_modified text, bytes bigint not null,"
            " sha256 text not null, run_id text not null, loaded_at timestamptz not null default now())"
        ).format(ZONE_FILES)
    )
    cursor.execute(sql.SQL("delete from {}").format(ZONE_FILES))
    for file in files:
        record = ZoneFileRecord(file.url, file.etag, file.last_modified, file.bytes, file.sha256, run_id)
        cursor.execute(sql.SQL("insert into {} ({}) values %s").format(ZONE_FILES, _NAMES), (astuple(record),))


def read(cursor: Cursor) -> dict[str, ZoneFileRecord]:
    """Reads the ledger: URL to line; empty where no zones were loaded yet."""
    cursor.execute("select to_regclass('raw_taxis.zone_files')")
    if cursor.fetchone() == (None,):
        return {}
    cursor.execute(sql.SQL("select {} from {}").format(_NAMES, ZONE_FILES))
    return {row[0]: ZoneFileRecord(*row) for row in cursor.fetchall()}
