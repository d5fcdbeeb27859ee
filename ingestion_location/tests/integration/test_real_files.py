"""Real files of the TLC give the known numbers; TLC_FILES names a folder that mirrors the TLC's site."""

import json
import os
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import shapely
from ingestion_location.defs.trips.month_load import LoadedMonth, load_month
from ingestion_location.defs.zones.zone_files import read_shapes
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse
from shapely.geometry import shape

pytestmark = pytest.mark.skipif(
    not os.environ.get("TLC_FILES"), reason="TLC_FILES names no folder with real files of the TLC"
)
SITE = Path(os.environ.get("TLC_FILES", "."))
# Month, trips, strays, nulls of passenger_count among the trips and the strays.
MONTHS = [
    ("2021-01", 76_518, 3, 36_047),
    ("2022-01", 62_495, 4, 6_295),
    ("2022-03", 78_537, 24, 8_065),
    ("2023-01", 68_211, 4, 4_324),
    ("2023-02", 64_809, 26, 4_821),
    ("2023-03", 72_044, 9, 4_537),
    ("2024-01", 56_551, 2, 3_415),
]


def load(month: str, warehouse: Warehouse) -> LoadedMonth:
    """Loads a green month."""
    start = datetime.fromisoformat(f"{month}-01")
    end = (start + timedelta(days=31)).replace(day=1)
    source = TlcSource(base_url=SITE.resolve().as_uri(), taxi_type="green")
    return load_month(source, warehouse, start, end, "test", lambda line: None)


@pytest.mark.parametrize(("month", "rows", "strays", "without_passengers"), MONTHS)
def test_a_real_month_has_its_known_rows_strays_and_nulls(
    warehouse: Warehouse, query: Any, month: str, rows: int, strays: int, without_passengers: int
) -> None:
    loaded = load(month, warehouse)
    record = loaded.file
    assert (record.rows, record.strays) == (rows, strays)
    assert (record.unknown_columns, record.missing_columns, loaded.absurd) == ([], [], {})
    assert query(
        "select count(*), count(*) filter (where passenger_count is null) from ("
        " select passenger_count from raw_taxis.trips union all select passenger_count from raw_taxis.stray_trips) as t"
    ) == [(rows, without_passengers)]


def test_a_reversal_is_loaded_beside_the_trip_that_it_cancels(warehouse: Warehouse, query: Any) -> None:
    load("2023-01", warehouse)
    ((negative, paired),) = query(
        "select count(*), count(*) filter (where exists (select from raw_taxis.trips as other where"
        " (other.vendor_id, other.pickup_datetime, other.dropoff_datetime, other.pickup_zone_id, other.dropoff_zone_id)"
        " = (trips.vendor_id, trips.pickup_datetime, trips.dropoff_datetime, trips.pickup_zone_id,"
        " trips.dropoff_zone_id) and other.total_amount = - trips.total_amount))"
        " from raw_taxis.trips where total_amount < 0"
    )
    assert (negative, paired / negative > 0.9) == (179, True)


def test_the_zones_shapes_are_those_of_an_independent_conversion() -> None:
    """The independent one is simplified to 30 feet, about a ten-thousandth of a degree."""
    with (SITE / "misc/taxi_zones.zip").open("rb") as archive:
        ours = {zone: shapely.from_geojson(text) for zone, text in read_shapes(archive, "zones").items()}
    parts: dict[int, list[Any]] = defaultdict(list)
    for feature in json.loads((SITE / "misc/taxi_zones.geojson").read_text())["features"]:
        properties = {name.lower(): value for name, value in feature["properties"].items()}
        parts[int(properties["locationid"])].append(shape(feature["geometry"]))
    theirs = {zone: shapely.union_all(shapes) for zone, shapes in parts.items()}
    assert set(ours) == set(theirs)
    assert {zone for zone in ours if shapely.hausdorff_distance(ours[zone], theirs[zone]) > 2e-4} == set()
    assert {zone for zone in ours if not shapely.is_valid(ours[zone])} == set()
