"""The zone lookup is loaded as the TLC wrote it."""

from pathlib import Path
from typing import Any

import pytest
from ingestion_location.warehouse import Warehouse
from ingestion_location.zones import ZoneFileError, read_zones, replace_zones

HEADER = '"LocationID","Borough","Zone","service_zone"\n'


@pytest.fixture
def lookup(tmp_path: Path) -> Path:
    return tmp_path / "lookup.csv"


def test_the_literal_na_is_a_value(lookup: Path) -> None:
    lookup.write_text(HEADER + '265,"N/A","Outside of NYC","N/A"\n')
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
def test_a_wrong_lookup_is_refused_with_its_name_and_line(lookup: Path, content: str, message: str) -> None:
    lookup.write_text(content)
    with pytest.raises(ZoneFileError) as refused:
        read_zones(lookup, "lookup")
    assert str(refused.value).startswith(message)


def test_the_zones_are_replaced_as_a_whole(warehouse: Warehouse, query: Any) -> None:
    for zones in ([(1, "a", "b", "c"), (2, "a", "b", "c")], [(2, "x", "y", "z")]):
        with warehouse.transaction() as connection:
            replace_zones(connection, zones)
    assert query("select * from raw_taxis.zones") == [(2, "x", "y", "z")]
