"""The copy in which `make test-locations` and `make check-location` check each location, without the others."""

from pathlib import Path

import pytest

from ops.locations import LOCATIONS, LocationError
from ops.scaffold.check import copy_alone


@pytest.mark.parametrize("location", LOCATIONS)
def test_the_copy_has_nothing_of_another_location(tmp_path: Path, location: str) -> None:
    copy_alone(location, tmp_path)
    others = [path for path in tmp_path.rglob("*_location") if path.name != location]
    assert others == []
    assert (tmp_path / location / "pyproject.toml").is_file()


def test_a_name_that_is_no_location_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match=r"NAME='weather' is not a location\. The locations are: dbt_location"):
        copy_alone("weather", tmp_path)
