"""The ledger ``raw_taxis.trip_files``: the file that each loaded month came from.

Other locations read its column ``month`` to see which months are loaded.
"""

from dataclasses import dataclass
from datetime import date

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.ledger import Ledger, LoadedFile


@dataclass(frozen=True, kw_only=True)
class LoadedTripFile(LoadedFile):
    """The file that a month came from.

    Attributes:
        rows: trips in the file, strays included.
        unknown_columns: columns of the file that map to no canonical column.
        missing_columns: canonical columns that the file should have and lacks.
    """

    month: date
    rows: int
    strays: int
    unknown_columns: list[str]
    missing_columns: list[str]

    @property
    def trips(self) -> int:
        return self.rows - self.strays


TRIP_FILES = Ledger(
    "trip_files",
    LoadedTripFile,
    """
    month date primary key, rows bigint not null, strays bigint not null,
    unknown_columns text[] not null, missing_columns text[] not null
    """,
)


def write(cursor: Cursor, file: LoadedTripFile) -> None:
    """Records a month's file in place of the earlier one."""
    TRIP_FILES.replace(cursor, [file], "month = %(month)s", {"month": file.month})


def read(cursor: Cursor, month: date) -> LoadedTripFile | None:
    """Reads a month's file; None where the month is not loaded."""
    files = TRIP_FILES.read(cursor, "month = %(month)s", {"month": month})
    return files[0] if files else None


def read_neighbours(cursor: Cursor, month: date) -> list[LoadedTripFile]:
    """Reads the files of the months before and after a month, if they are loaded."""
    where = "month in ((%(month)s - interval '1 month')::date, (%(month)s + interval '1 month')::date) order by month"
    return TRIP_FILES.read(cursor, where, {"month": month})


def total_trips(cursor: Cursor) -> int:
    """Trips of all loaded months."""
    cursor.execute(sql.SQL("select coalesce(sum(rows - strays), 0)::bigint from {}").format(TRIP_FILES.table))
    ((total,),) = cursor.fetchall()
    return int(total)
