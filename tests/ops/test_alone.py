"""The copy in which `make test-locations` and `make check-location` check each location, without the others."""

import sys
from pathlib import Path

import pytest

from ops.command import OpsError
from ops.locations import LOCATIONS, LocationError
from ops.scaffold.check import check_dependencies, copy_alone


@pytest.mark.parametrize("location", LOCATIONS)
def test_the_copy_has_nothing_of_another_location(tmp_path: Path, location: str) -> None:
    copy_alone(location, tmp_path)
    others = [path for path in tmp_path.rglob("*_location") if path.name != location]
    assert others == []
    assert (tmp_path / location / "pyproject.toml").is_file()


def test_a_name_that_is_no_location_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match=r"NAME='weather' is not a location\. The locations are: dbt_location"):
        copy_alone("weather", tmp_path)


def test_a_dependency_that_cannot_be_judged_is_refused_by_name(tmp_path: Path) -> None:
    package = tmp_path / "odd_location/src/odd_location"
    package.mkdir(parents=True)
    (package / "definitions.py").write_text("""
import dagster as dg

months = dg.MonthlyPartitionsDefinition("2023-01-01", end_date="2023-03-01")
trips = dg.AssetSpec("trips", partitions_def=months)
last = dg.AssetDep("trips", partition_mapping=dg.LastPartitionMapping())
page = dg.asset(name="page", deps=[last], partitions_def=months)(lambda: None)
defs = dg.Definitions([trips, page])
""")
    with pytest.raises(OpsError, match=r"^page: .* its dependency on trips has a LastPartitionMapping"):
        check_dependencies(tmp_path / "odd_location", Path(sys.executable))
