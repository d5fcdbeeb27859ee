"""Files of the zones as the TLC publishes them, with a few zones."""

import io
import zipfile

import shapefile
from pyproj import CRS

HEADER = '"LocationID","Borough","Zone","service_zone"\n'
# The TLC's own: State Plane, New York Long Island, US survey feet.
STATE_PLANE = CRS.from_epsg(2263).to_wkt("WKT1_ESRI")
# A square of 1,000 feet at Times Square, its outer ring with the clock as a shapefile wants it.
TIMES_SQUARE = (988_000, 215_000)


def square(corner: tuple[float, float], feet: int = 1_000) -> list[list[float]]:
    x, y = corner
    return [[x, y], [x, y + feet], [x + feet, y + feet], [x + feet, y], [x, y]]


def archive(*zones: tuple[int, list[list[float]]], folder: str = "", projection: str = STATE_PLANE) -> io.BytesIO:
    """A zipped shapefile of these zones: number and ring, a record each."""
    parts = {suffix: io.BytesIO() for suffix in ("shp", "shx", "dbf")}
    with shapefile.Writer(**parts, shapeType=shapefile.POLYGON) as writer:
        writer.field("LocationID", "N")
        for number, ring in zones:
            writer.poly([ring])
            writer.record(number)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        for suffix, part in parts.items():
            zipped.writestr(f"{folder}taxi_zones.{suffix}", part.getvalue())
        zipped.writestr(f"{folder}taxi_zones.prj", projection)
    content.seek(0)
    return content
