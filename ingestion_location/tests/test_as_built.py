"""The definitions load without a network, a database or a setting, and have what is below defs/."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dagster as dg
from ingestion_location.definitions import defs

import ingestion_location

PACKAGE = Path(ingestion_location.__file__).parent
NEW_FILE = """
import dagster as dg

@dg.asset
def weather() -> None: ...
"""


def test_the_definitions_have_their_assets_and_sensors() -> None:
    repository = defs.get_repository_def()
    assert {key.to_user_string() for key in repository.asset_graph.materializable_asset_keys} == {
        "taxi_trips",
        "taxi_zones",
    }
    assert {sensor.name for sensor in repository.sensor_defs} == {"new_trip_files", "new_zone_files"}


def test_nothing_is_defined_twice() -> None:
    assets = Counter(key for asset in defs.assets or () for key in getattr(asset, "keys", [asset]))
    sensors = Counter(sensor.name for sensor in defs.sensors or ())
    assert max([*assets.values(), *sensors.values()]) == 1


def test_every_asset_has_the_resources_that_it_names() -> None:
    dg.Definitions.validate_loadable(defs)


def test_runs_execute_in_one_process() -> None:
    assert defs.executor is dg.in_process_executor


def test_an_asset_in_a_new_file_below_defs_is_loaded(tmp_path: Path) -> None:
    project = PACKAGE.parents[1]
    shutil.copy(project / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "src/ingestion_location")
    (tmp_path / "src/ingestion_location/defs/trips/weather.py").write_text(NEW_FILE)
    script = (
        "from ingestion_location.definitions import defs;"
        "print(*(key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()))"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'src'); {script}"]
    printed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert set(printed.split()) == {"taxi_trips", "taxi_zones", "weather"}
