"""The files of the taxi zones: the TLC's lookup, a CSV file, and its zipped shapefile, which becomes GeoJSON."""

import csv
import io
import re
import zipfile
from collections import defaultdict
from pathlib import PurePosixPath
from typing import IO

import numpy as np
import shapefile
import shapely
from pyproj import CRS, Transformer
from shapely.geometry import MultiPolygon, Polygon, shape

from ingestion_location.bounds import MB, Bounds
from ingestion_location.load_errors import LoadError, check_bound, misfit_of

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
# The largest number of a zone that the warehouse can store.
MOST_NUMBER = 32_767
SUFFIXES = (".shp", ".shx", ".dbf", ".prj")
# Flag of an entry of a zip archive.
ENCRYPTED = 1
NEXT_STEP = "Nothing was loaded; compare the file with the TLC's and load the zones again."


class ZoneFileError(LoadError):
    """A file of the zones that cannot be loaded; the message names the file, the column and the next step."""


def read_zones(file: IO[bytes], name: str) -> list[Zone]:
    """Reads the lookup; every value stays the text that the TLC wrote, the literal ``N/A`` included.

    Raises:
        ZoneFileError: a column or value is missing, a zone's number is not one or appears twice, a text is not one, or
            there are no zones.
        OutOfBounds: a text is larger than a setting allows.
    """
    bounds = Bounds()
    zones: dict[int, Zone] = {}
    # Bytes that are not UTF-8 become half characters, so that the column and the line of each are known.
    reader = csv.DictReader(io.StringIO(file.read().decode("utf-8-sig", "surrogateescape"), newline=""))
    try:
        names = reader.fieldnames or ()
        for _, _, source, _ in COLUMNS:
            if source not in names:
                raise ZoneFileError(
                    f"{name}: the column {source} is missing; the file has {', '.join(names) or 'no columns'}. "
                    "Check that TLC_BASE_URL points to the TLC's files."
                )
        for row in reader:
            where = f"{name}, line {reader.line_num}"
            number, *texts = (_text(row[source], source, where, bounds) for _, _, source, _ in COLUMNS)
            if not re.fullmatch("[0-9]{1,5}", number) or not 0 < int(number) <= MOST_NUMBER or int(number) in zones:
                raise ZoneFileError(
                    f"{where}: LocationID {number!r} is not a number from 1 to {MOST_NUMBER} or appears twice. "
                    f"{NEXT_STEP}"
                )
            borough, zone, service_zone = texts
            zones[int(number)] = (int(number), borough, zone, service_zone)
    except csv.Error as error:
        raise ZoneFileError(f"{name}, line {reader.line_num}: this is not CSV ({error}). {NEXT_STEP}") from error
    if not zones:
        raise ZoneFileError(f"{name}: the file has no zones. Check TLC_BASE_URL.")
    return list(zones.values())


def _text(value: str | None, column: str, where: str, bounds: Bounds) -> str:
    """A value of the lookup, if it is a text that the warehouse can store."""
    if value is None:
        raise ZoneFileError(f"{where}: the line ends before {column}. {NEXT_STEP}")
    encoded = value.encode(errors="surrogateescape")
    check_bound(bounds, "tlc_max_text_bytes", len(encoded), f"{where}, column {column}")
    wrong = misfit_of(encoded)
    if wrong:
        raise ZoneFileError(f"{where}, column {column}: the text {encoded!r} {wrong}. {NEXT_STEP}")
    return value


def read_shapes(file: IO[bytes], name: str) -> dict[int, str]:
    """Reads the shapefile in a zip archive, in whatever folder of the archive it is.

    Returns:
        Zone number to GeoJSON geometry (Polygon or MultiPolygon, WGS 84, longitude first). A zone that has several
        records in the shapefile is one MultiPolygon of all their parts.

    Raises:
        ZoneFileError: this is not such an archive, it is encrypted, or its projection is unknown.
        OutOfBounds: it is larger than a setting allows, unpacked.
    """
    bounds = Bounds()
    try:
        parts = _unpacked(file, name, bounds)
        projection = parts[".prj"].read().decode()
        transformer = Transformer.from_crs(CRS.from_wkt(projection), CRS.from_epsg(4326), always_xy=True)
        polygons: dict[int, list[Polygon]] = defaultdict(list)
        with shapefile.Reader(shp=parts[".shp"], shx=parts[".shx"], dbf=parts[".dbf"]) as reader:
            for record in reader.iterShapeRecords(fields=["LocationID"]):
                geometry = shape(record.shape.__geo_interface__)
                polygons[int(record.record["LocationID"])] += getattr(geometry, "geoms", [geometry])
        return {zone: _geojson(shapes, transformer) for zone, shapes in sorted(polygons.items())}
    except LoadError:
        raise
    # The parsers of these formats raise errors of any kind on a damaged file or another format.
    except Exception as error:
        raise ZoneFileError(
            f"{name}: this is not a zipped shapefile of the taxi zones with a LocationID and a projection "
            f"({error or 'it cannot be read'}). Check what the source answers at this address, then load the zones "
            "again."
        ) from error


def _geojson(shapes: list[Polygon], transformer: Transformer) -> str:
    def project(points: np.ndarray) -> np.ndarray:
        degrees = np.round(np.column_stack(transformer.transform(points[:, 0], points[:, 1])), DECIMALS)
        if not np.all(np.abs(degrees) <= (180, 90)):
            raise ValueError("a shape has a point that is not on the Earth")
        return degrees

    # GeoJSON wants outer rings counterclockwise; in a shapefile they are clockwise.
    oriented = [shapely.orient_polygons(part) for part in shapes]
    merged = oriented[0] if len(oriented) == 1 else MultiPolygon(oriented)
    if merged.geom_type not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a zone is a {merged.geom_type}")
    return str(shapely.to_geojson(shapely.transform(merged, project)))


def _unpacked(file: IO[bytes], name: str, bounds: Bounds) -> dict[str, io.BytesIO]:
    """The parts of the one shapefile in the archive, by suffix."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        check_bound(bounds, "tlc_max_zip_entries", len(entries), name)
        check_bound(bounds, "tlc_max_zones_mb", sum(entry.file_size for entry in entries) / MB, name)
        if any(entry.flag_bits & ENCRYPTED for entry in entries):
            raise ZoneFileError(
                f"{name}: the archive is encrypted. Nothing was loaded; the source must publish it without encryption."
            )
        members = _members(entries)
        parts = {}
        for suffix in SUFFIXES:
            # Only of this method no small piece becomes a large one before it is counted.
            if members[suffix].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("its entries are not deflated")
            with archive.open(members[suffix]) as packed:
                parts[suffix] = io.BytesIO(packed.read(bounds.tlc_max_zones_mb * MB + 1))
            # The sizes in the archive may be wrong.
            check_bound(bounds, "tlc_max_zones_mb", parts[suffix].getbuffer().nbytes / MB, name)
    return parts


def _members(entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The entries of the one shapefile, by suffix."""
    paths = {PurePosixPath(entry.filename): entry for entry in entries}
    found = [path for path in paths if path.suffix == ".shp"]
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} .shp files")
    members = {path.suffix: entry for path, entry in paths.items() if path.with_suffix("") == found[0].with_suffix("")}
    missing = [suffix for suffix in SUFFIXES if suffix not in members]
    if missing:
        raise ValueError(f"it has no {missing[0]} file beside the .shp file")
    return members
