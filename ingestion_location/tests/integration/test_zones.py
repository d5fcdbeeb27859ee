"""The zones and their shapes are replaced as a whole, with a check that they belong together."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from helpers.zone_files import HEADER, TIMES_SQUARE, archive, square
from ingestion_location.defs.zones.new_zone_files import look_for_zones
from ingestion_location.defs.zones.taxi_zones import replace_zones, taxi_zones
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse


def test_the_zones_are_replaced_as_a_whole(warehouse: Warehouse, query: Any) -> None:
    for zones in ([(1, "a", "b", "c"), (2, "a", "b", "c")], [(2, "x", "y", "z")]):
        with warehouse.transaction() as connection:
            replace_zones(connection, zones, {2: "{}"})
    assert query("select * from raw_taxis.zones") == [(2, "x", "y", "z", "{}")]


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., str]:
    """Writes a site with the zones 1 and 2, and with a shapefile of the given zones, if any."""

    def write(*shapes: int) -> str:
        (tmp_path / "misc").mkdir()
        (tmp_path / "misc/taxi_zone_lookup.csv").write_text(HEADER + "1,a,b,c\n2,a,b,c\n")
        if shapes:
            content = archive(*((zone, square(TIMES_SQUARE)) for zone in shapes))
            (tmp_path / "misc/taxi_zones.zip").write_bytes(content.getvalue())
        return tmp_path.as_uri()

    return write


def load(
    base_url: str, warehouse: Warehouse, instance: dg.DagsterInstance | None = None
) -> tuple[bool, dict[str, Any]]:
    """Materializes the zones; returns whether the check of the shapes passed, and its metadata."""
    result = dg.materialize(
        [taxi_zones],
        resources={"tlc": TlcSource(base_url=base_url, taxi_type="yellow"), "warehouse": warehouse},
        instance=instance or dg.DagsterInstance.ephemeral(),
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
    passed, metadata = load(site(), warehouse)
    assert (passed, metadata["has_shapefile"]) == (False, False)
    assert query("select zone_id, geometry from raw_taxis.zones order by 1") == [(1, None), (2, None)]


def test_a_shape_of_no_zone_is_a_warning_that_names_it(site: Callable[..., str], warehouse: Warehouse) -> None:
    passed, metadata = load(site(1, 7), warehouse)
    assert (passed, metadata["shapes_without_zone"]) == (False, [7])


def test_loaded_zones_are_in_the_ledger_that_the_sensor_reads(site: Callable[..., str], warehouse: Warehouse) -> None:
    root = site(1)
    instance = dg.DagsterInstance.ephemeral()
    load(root, warehouse, instance)
    context = dg.build_sensor_context(instance, sensor_name="new_zone_files")
    result = look_for_zones(context, TlcSource(base_url=root, taxi_type="yellow"), warehouse, datetime.now(UTC))
    assert result.skip_reason == dg.SkipReason("zones loaded, nothing new")
