"""The zone files are read as the TLC wrote them, or refused with their name."""

import io
import json
from itertools import pairwise

import pytest
from helpers.zone_files import HEADER, TIMES_SQUARE, archive, square
from ingestion_location.defs.zones.zone_files import ZoneFileError, read_shapes, read_zones


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
