"""The files of the taxi zones: the TLC's lookup, a CSV file, and its zipped shapefile, which becomes GeoJSON."""

import csv
import io
import zipfile
from collections import defaultdict
from pathlib import PurePosixPath
from typing import IO

import numpy as np
import shapefile
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry import MultiPolygon, Polygon, shape

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
# Decimals of a degree: a centimetre. With six decimals the outline of one of the TLC's zones would touch itself.
DECIMALS = 7


class ZoneFileError(LoadError):
    """A file of the zones that cannot be loaded; the message names the file, the column and the next step."""


def read_zones(file: IO[bytes], name: str) -> list[Zone]:
    """Reads the lookup; every value stays the text that the TLC wrote, the literal ``N/A`` included.

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


def read_shapes(file: IO[bytes], name: str) -> dict[int, str]:
    """Reads the shapefile in a zip archive, wherever in it the file lies.

    Returns:
        Zone number to GeoJSON geometry (Polygon or MultiPolygon, WGS 84, longitude first). A zone that has several
        records in the shapefile is one MultiPolygon of all their parts.

    Raises:
        ZoneFileError: this is not such an archive, or its projection is unknown.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive)
            parts = {suffix: io.BytesIO(archive.read(members[suffix])) for suffix in (".shp", ".shx", ".dbf")}
            projection = archive.read(members[".prj"]).decode()
        transformer = Transformer.from_crs(CRS.from_wkt(projection), CRS.from_epsg(4326), always_xy=True)
        polygons: dict[int, list[Polygon]] = defaultdict(list)
        with shapefile.Reader(shp=parts[".shp"], shx=parts[".shx"], dbf=parts[".dbf"]) as reader:
            for record in reader.iterShapeRecords(fields=["LocationID"]):
                geometry = shape(record.shape.__geo_interface__)
                polygons[int(record.record["LocationID"])] += getattr(geometry, "geoms", [geometry])
    except (zipfile.BadZipFile, KeyError, ValueError, CRSError, shapefile.ShapefileException) as error:
        raise ZoneFileError(
            f"{name}: this is not a zipped shapefile of the taxi zones with a LocationID and a projection ({error}). "
            "Check what the source answers at this address, then load the zones again."
        ) from error

    def project(points: np.ndarray) -> np.ndarray:
        return np.round(np.column_stack(transformer.transform(points[:, 0], points[:, 1])), DECIMALS)

    def geojson(parts: list[Polygon]) -> str:
        # GeoJSON wants outer rings counterclockwise; in a shapefile they are clockwise.
        oriented = [shapely.orient_polygons(part) for part in parts]
        merged = oriented[0] if len(oriented) == 1 else MultiPolygon(oriented)
        return str(shapely.to_geojson(shapely.transform(merged, project)))

    return {zone: geojson(parts) for zone, parts in sorted(polygons.items())}


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    """The files of the one shapefile in the archive, by suffix."""
    paths = [PurePosixPath(entry) for entry in archive.namelist()]
    found = [path for path in paths if path.suffix == ".shp"]
    if len(found) != 1:
        raise KeyError(f"it has {len(found)} .shp files")
    return {path.suffix: str(path) for path in paths if path.with_suffix("") == found[0].with_suffix("")}
