"""The TLC's lookup of its taxi zones, a CSV file."""

import csv
import io
from typing import IO

from ingestion_location.load_errors import LoadError

# Column in the warehouse, its type, the TLC's name for it, description.
COLUMNS = (
    ("zone_id", "smallint", "LocationID", "TLC's number of the zone."),
    ("borough", "text", "Borough", "Borough, EWR for Newark; Unknown or N/A where the TLC says so."),
    ("zone", "text", "Zone", "Name of the zone."),
    ("service_zone", "text", "service_zone", "Who may pick up there: Yellow Zone, Boro Zone, Airports, EWR or N/A."),
)
# The values of COLUMNS.
Zone = tuple[int, str, str, str]


class ZoneFileError(LoadError):
    """A file of the zones that cannot be loaded; the message names the file, the column and the next step."""


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
