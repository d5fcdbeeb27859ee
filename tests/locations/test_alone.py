"""Each location is checked from its own folder, without the others."""

import subprocess
import sys
from pathlib import Path

import pytest

from contract.workspace import LOCATIONS, ROOT
from locations.check import copy_alone
from locations.tree import LocationError
from tests.checkout import copy_repository


@pytest.mark.parametrize("location", LOCATIONS)
def test_the_copy_has_nothing_of_another_location(tmp_path: Path, location: str) -> None:
    copy_alone(location, tmp_path)
    others = [path for path in tmp_path.rglob("*_location") if path.name != location]
    assert others == []
    assert (tmp_path / location / "pyproject.toml").is_file()


@pytest.mark.parametrize("location", LOCATIONS)
def test_every_test_of_a_location_can_be_collected_where_the_others_are_absent(tmp_path: Path, location: str) -> None:
    copy_alone(location, tmp_path)
    tools = ROOT / location / ".venv/bin"
    folders = [path for path in ("tests", f"../tests/{location}") if (tmp_path / location / path).is_dir()]
    for folder in folders:
        collected = subprocess.run(
            [tools / "pytest", "--collect-only", "--quiet", folder],
            cwd=tmp_path / location,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "src"},
            capture_output=True,
            text=True,
        )
        assert collected.returncode == 0, collected.stdout + collected.stderr


def test_a_file_that_the_tests_need_and_that_is_not_there_is_named(tmp_path: Path) -> None:
    copy_repository(tmp_path / "copy")
    (tmp_path / "copy/embedded/server.py").unlink()
    with pytest.raises(LocationError, match=r"dbt_location/pyproject\.toml: tests_need names embedded/server\.py"):
        copy_alone("dbt_location", tmp_path / "alone", tmp_path / "copy")


def test_a_name_that_is_no_location_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match=r"NAME='weather' is no location\. There are: dbt_location"):
        copy_alone("weather", tmp_path)


@pytest.mark.drill
@pytest.mark.parametrize("location", LOCATIONS)
def test_a_location_passes_its_checks_alone(location: str) -> None:
    python = ROOT / location / ".venv/bin/python"
    checked = subprocess.run(
        [sys.executable, "-m", "locations.check", location, "--python", python],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
