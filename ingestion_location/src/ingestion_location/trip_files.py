"""The ledger ``raw_taxis.trip_files``: which file each loaded month came from.

Whoever builds on the trips reads here which months are loaded: the column ``month`` is theirs too.
"""

from dataclasses import astuple, dataclass, fields
from datetime import date

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case

TRIP_FILES = sql.Identifier("raw_taxis", "trip_files")
# Column, its type.
COLUMNS = (
    ("month", "date primary key"),
    ("url", "text not null"),
    ("etag", "text"),
    ("last_modified", "text"),
    ("bytes", "bigint not null"),
    ("sha256", "text not null"),
    ("rows", "bigint not null"),
    ("strays", "bigint not null"),
    ("unknown_columns", "text[] not null"),
    ("missing_columns", "text[] not null"),
    ("run_id", "text not null"),
)


@dataclass(frozen=True)
class TripFileRecord:
    """One month's line in the ledger, which also has ``loaded_at``.

    Attributes:
        month: first day of the month.
        url: where the file came from.
        etag: the server's ETag, or None.
        last_modified: the server's Last-Modified, or None.
        bytes: size of the file.
        sha256: checksum of the file, in hex.
        rows: trips in the file, strays included.
        strays: trips picked up outside the month.
        unknown_columns: columns of the file that no canonical column wants.
        missing_columns: canonical columns that the file should have and has not.
        run_id: the Dagster run that loaded it.
    """

    month: date
    url: str
    etag: str | None
    last_modified: str | None
    bytes: int
    sha256: str
    rows: int
    strays: int
    unknown_columns: list[str]
    missing_columns: list[str]
    run_id: str

    @property
    def trips(self) -> int:
        """Trips picked up in the month."""
        return self.rows - self.strays


_NAMES = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(TripFileRecord))


def create_table(cursor: Cursor) -> None:
    """Creates the ledger where it is missing."""
    definitions = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(kind)) for n, kind in COLUMNS)
    cursor.execute(
        sql.SQL("create table if not exists {} ({}, loaded_at timestamptz not null default now())").format(
            TRIP_FILES, definitions
        )
    )


def write(cursor: Cursor, entry: TripFileRecord) -> None:
    """Writes a month's line; in the transaction that replaces the month, so that the two never disagree."""
    cursor.execute(sql.SQL("delete from {} where month = %s").format(TRIP_FILES), (entry.month,))
    cursor.execute(
        sql.SQL("insert into {} ({}) values %s").format(TRIP_FILES, _NAMES),
        (astuple(entry),),
    )


def look_up(cursor: Cursor, month: date) -> TripFileRecord | None:
    """Reads a month's line; None where the month is not loaded, or nothing ever was."""
    cursor.execute("select to_regclass('raw_taxis.trip_files')")
    if cursor.fetchone() == (None,):
        return None
    cursor.execute(sql.SQL("select {} from {} where month = %s").format(_NAMES, TRIP_FILES), (month,))
    row = cursor.fetchone()
    return TripFileRecord(*row) if row else None


def read(cursor: Cursor) -> dict[date, TripFileRecord]:
    """Reads the ledger: month to line; empty where nothing was loaded yet."""
    cursor.execute("select to_regclass('raw_taxis.trip_files')")
    if cursor.fetchone() == (None,):
        return {}
    cursor.execute(sql.SQL("select {} from {}").format(_NAMES, TRIP_FILES))
    return {row[0]: TripFileRecord(*row) for row in cursor.fetchall()}


def neighbours(cursor: Cursor, month: date) -> list[TripFileRecord]:
    """Reads the lines of the months before and after a month, those that are loaded."""
    cursor.execute(
        sql.SQL(
            "select {} from {} where month in ((%(month)s - interval '1 month')::date,"
            " (%(month)s + interval '1 month')::date) order by month"
        ).format(_NAMES, TRIP_FILES),
        {"month": month},
    )
    return [TripFileRecord(*row) for row in cursor.fetchall()]


def total_trips(cursor: Cursor) -> int:
    """Trips of all loaded months."""
    cursor.execute(sql.SQL("select coalesce(sum(rows - strays), 0)::bigint from {}").format(TRIP_FILES))
    ((total,),) = cursor.fetchall()
    return int(total)
