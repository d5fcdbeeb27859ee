"""The zones are loaded as the TLC wrote them, with the shapes that it publishes."""

import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import shapefile
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse
from ingestion_location.zone_file_sensor import look_for_zones
from ingestion_location.zone_shapes import ZoneFileError, read_shapes
from ingestion_location.zones import read_zones, replace_zones, taxi_zones
from pyproj import CRS

HEADER = '"LocationID","Borough","Zone","service_zone"\n'
# The TLC's own: State Plane, New York Long Island, US survey feet.
STATE_PLANE = CRS.from_epsg(2263).to_wkt("WKT1_ESRI")
# A square of 1,000 feet at Times Square, its outer ring with the clock as a shapefile wants it.
TIMES_SQUARE = (988_000, 215_000)


def square(corner: tuple[int, int], feet: int = 1_000) -> list[list[int]]:
    x, y = corner
    return [[x, y], [x, y + feet], [x + feet, y + feet], [x + feet, y], [x, y]]


def archive(*zones: tuple[int, list[list[int]]], folder: str = "", projection: str = STATE_PLANE) -> io.BytesIO:
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


def test_the_literal_na_is_a_value() -> None:
    lookup = io.BytesIO((HEADER + '265,"N/A","Outside of NYC","N/A"\n').encode())
    assert read_zones(lookup, "lookup") == [(265, "N/A", "Outside of NYC", "N/A")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('"LocationID","Borough","Zone"\n', "lookup: the column service_zone is missing; the file has LocationID, Bor"),
        (HEADER + "1,a,b,c\n1,a,b,c\n", "lookup, line 3: LocationID '1' is not a number or appears twice."),
        (HEADER + "one,a,b,c\n", "lookup, line 2: LocationID 'one' is not a number or appears twice."),
        (HEADER, "lookup: the file has no zones."),
        ("", "lookup: the column LocationID is missing; the file has no columns."),
    ],
)
def test_a_wrong_lookup_is_refused_with_its_name_and_line(content: str, message: str) -> None:
    with pytest.raises(ZoneFileError) as refused:
        read_zones(io.BytesIO(content.encode()), "lookup")
    assert str(refused.value).startswith(message)


def test_a_shape_comes_out_in_degrees_with_its_outer_ring_against_the_clock() -> None:
    (shape,) = read_shapes(archive((1, square(TIMES_SQUARE))), "zip").values()
    geometry = json.loads(shape)
    assert geometry["type"] == "Polygon"
    (ring,) = geometry["coordinates"]
    assert all(-73.99 < longitude < -73.98 and 40.75 < latitude < 40.76 for longitude, latitude in ring)
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    assert area > 0


def test_a_zone_of_several_records_is_one_shape_of_all_its_parts() -> None:
    x, y = TIMES_SQUARE
    shapes = read_shapes(archive((56, square((x, y))), (57, square((x, y))), (56, square((x + 5_000, y)))), "zip")
    parts = {zone: json.loads(shape)["type"] for zone, shape in shapes.items()}
    assert parts == {56: "MultiPolygon", 57: "Polygon"}


def test_the_shapefile_is_found_at_any_depth_of_the_archive() -> None:
    assert list(read_shapes(archive((1, square(TIMES_SQUARE)), folder="a/b/"), "zip")) == [1]


@pytest.mark.parametrize(
    "content",
    [io.BytesIO(b"<html>"), archive((1, square(TIMES_SQUARE)), projection="flat")],
    ids=["a web page", "no projection"],
)
def test_a_wrong_archive_is_refused_with_its_name(content: io.BytesIO) -> None:
    with pytest.raises(ZoneFileError, match=r"^zip: this is not a zipped shapefile of the taxi zones"):
        read_shapes(content, "zip")


def test_the_zones_are_replaced_as_a_whole(warehouse: Warehouse, query: Any) -> None:
    for zones in ([(1, "a", "b", "c"), (2, "a", "b", "c")], [(2, "x", "y", "z")]):
        with warehouse.transaction() as connection:
            replace_zones(connection, zones, {2: "{}"})
    assert query("select * from raw_taxis.zones") == [(2, "x", "y", "z", "{}")]


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., str]:
    """Writes a site with the zones 1 and 2, and a shapefile with the given zones where there are some."""

    def write(*shapes: int) -> str:
        (tmp_path / "misc").mkdir()
        (tmp_path / "misc/taxi_zone_lookup.csv").write_text(HEADER + "1,a,b,c\n2,a,b,c\n")
        if shapes:
            content = archive(*((zone, square(TIMES_SQUARE)) for zone in shapes))
            (tmp_path / "misc/taxi_zones.zip").write_bytes(content.getvalue())
        return tmp_path.as_uri()

    return write


def load(base_url: str, warehouse: Warehouse) -> tuple[bool, dict[str, Any]]:
    """Materializes the zones; whether the check of the shapes passed, and what it says."""
    result = dg.materialize(
        [taxi_zones],
        resources={"tlc": TlcSource(base_url=base_url, taxi_type="yellow"), "warehouse": warehouse},
        instance=dg.DagsterInstance.ephemeral(),
    )
    (check,) = result.get_asset_check_evaluations()
    assert check.severity == dg.AssetCheckSeverity.WARN
    return check.passed, {name: value.value for name, value in check.metadata.items()}


def test_a_zone_without_a_shape_has_none_and_the_check_passes(
    site: Callable[..., str], warehouse: Warehouse, query: Any
) -> None:
    passed, _ = load(site(1), warehouse)
    assert passed
    assert query("select zone_id, geometry is null from raw_taxis.zones order by 1") == [(1, False), (2, True)]


def test_a_source_without_the_shapefile_still_loads_the_zones_with_a_warning(
    site: Callable[..., str], warehouse: Warehouse, query: Any
) -> None:
    passed, said = load(site(), warehouse)
    assert (passed, said["has_shapefile"]) == (False, False)
    assert query("select zone_id, geometry from raw_taxis.zones order by 1") == [(1, None), (2, None)]


def test_a_shape_of_no_zone_is_a_warning_that_names_it(site: Callable[..., str], warehouse: Warehouse) -> None:
    passed, said = load(site(1, 7), warehouse)
    assert (passed, said["shapes_without_zone"]) == (False, [7])


def test_loaded_zones_are_in_the_ledger_that_the_sensor_reads(site: Callable[..., str], warehouse: Warehouse) -> None:
    root = site(1)
    load(root, warehouse)
    context = dg.build_sensor_context(dg.DagsterInstance.ephemeral(), sensor_name="new_zone_files")
    result = look_for_zones(context, TlcSource(base_url=root, taxi_type="yellow"), warehouse, datetime.now(UTC))
    assert result.skip_reason == dg.SkipReason("zones loaded, nothing new")
