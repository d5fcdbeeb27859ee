"""The zone files are read as the TLC wrote them, or refused with their name."""

import io
import json
import re
import tracemalloc
import zipfile
from itertools import pairwise

import pytest
from helpers.misbehaving_server import send, serving
from helpers.zone_files import HEADER, TIMES_SQUARE, archive, square
from ingestion_location.defs.zones.taxi_zones import fetch_zones
from ingestion_location.defs.zones.zone_files import ZoneFileError, read_shapes, read_zones
from ingestion_location.load_errors import LoadError, OutOfBounds
from ingestion_location.source import TlcSource


def test_the_literal_na_is_a_value() -> None:
    lookup = io.BytesIO((HEADER + '265,"N/A","Outside of NYC","N/A"\n').encode())
    assert read_zones(lookup, "lookup") == [(265, "N/A", "Outside of NYC", "N/A")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('"LocationID","Borough","Zone"\n', "lookup: the column service_zone is missing; the file has LocationID, Bor"),
        (
            HEADER + "1,a,b,c\n1,a,b,c\n",
            "lookup, line 3: LocationID '1' is not a number from 1 to 32767 or appears twice.",
        ),
        (HEADER + "one,a,b,c\n", "lookup, line 2: LocationID 'one' is not a number from 1 to 32767 or appears twice."),
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"7,Bronx\n", "lookup, line 2: the line ends before Zone."),
        (b"7,a,b\0,c\n", "lookup, line 2, column Zone: the text b'b\\\\x00' has a NUL character"),
        (b"7,a,b,\xff\n", "lookup, line 2, column service_zone: the text b'\\\\xff' is not UTF-8"),
        (b"40000,a,b,c\n", "lookup, line 2: LocationID '40000' is not a number from 1 to 32767"),
        (
            b"9" * 5_000 + b",a,b,c\n",
            "lookup, line 2, column LocationID: the size of a text in bytes is at least 5,000",
        ),
        (b'7,"' + b"x" * 200_000 + b'",b,c\n', "lookup, line 1: this is not CSV (field larger than field limit"),
    ],
)
def test_a_wrong_line_of_the_lookup_is_refused_with_its_column(line: bytes, message: str) -> None:
    with pytest.raises(LoadError) as refused:
        read_zones(io.BytesIO(HEADER.encode() + line), "lookup")
    assert str(refused.value).startswith(message.replace("\\\\", "\\"))


@pytest.mark.parametrize("large", ["lookup", "shapes"])
def test_a_file_larger_than_the_setting_is_refused_before_it_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, large: str
) -> None:
    monkeypatch.setenv("TLC_MAX_ZONES_MB", "1")
    lookup, refused = send((HEADER + "1,a,b,c\n").encode()), send(b"", length=2_000_000)
    with serving(*([refused] if large == "lookup" else [lookup, refused])) as site:
        tlc = TlcSource(base_url=site.root, taxi_type="yellow")
        url = tlc.zones_url if large == "lookup" else tlc.zone_shapes_url
        message = f"{url}: the size in MB, unpacked, is at least 2, and TLC_MAX_ZONES_MB=1"
        with pytest.raises(OutOfBounds, match=f"^{re.escape(message)}"):
            fetch_zones(tlc, lambda line: None)


def zipped(compression: int = zipfile.ZIP_DEFLATED, **contents: bytes) -> io.BytesIO:
    """An archive of entries `taxi_zones.<suffix>` with these contents."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for suffix, content in contents.items():
            archive.writestr(f"taxi_zones.{suffix}", content)
    return file


def test_an_archive_that_unpacks_to_more_than_the_setting_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(OutOfBounds, match=r"^zip: the size in MB, unpacked, is at least 30, and TLC_MAX_ZONES_MB=20"):
        read_shapes(zipped(shp=b"0" * 30_000_000, shx=b"", dbf=b"", prj=b""), "zip")


def test_an_archive_with_too_many_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLC_MAX_ZIP_ENTRIES", "3")
    with pytest.raises(OutOfBounds, match=r"^zip: the number of entries is at least 4, and TLC_MAX_ZIP_ENTRIES=3 is"):
        read_shapes(archive((1, square(TIMES_SQUARE))), "zip")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_whose_sizes_lie_takes_no_more_memory_than_the_setting(compression: int) -> None:
    content = zipped(compression, shp=b"0" * 100_000_000, shx=b"", dbf=b"", prj=b"").getvalue()
    content = content.replace((100_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
    tracemalloc.start()
    try:
        with pytest.raises(LoadError, match=r"^zip: "):
            read_shapes(io.BytesIO(content), "zip")
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_an_encrypted_archive_is_called_encrypted() -> None:
    content = bytearray(archive((1, square(TIMES_SQUARE))).getvalue())
    # The flag of the first entry, in its header and in the directory at the end.
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(ZoneFileError, match=r"^zip: the archive is encrypted\. .* must publish it without encryption"):
        read_shapes(io.BytesIO(content), "zip")


def test_a_shape_beyond_the_earth_is_refused() -> None:
    with pytest.raises(ZoneFileError, match="a shape has a point that is not on the Earth"):
        read_shapes(archive((1, square((float("inf"), 0)))), "zip")
