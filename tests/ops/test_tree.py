"""A location's files and lines come and go as one."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.command import ROOT
from ops.locations import LOCATIONS, LocationError, policy_service
from ops.scaffold.new import make_files
from ops.scaffold.remove import remove_files
from ops.scaffold.tree import MAX_NAME, own_paths

NAME = "weather_location"
LONGEST = f"{'a_' * 15}b_location"
VENV = Path(sys.executable).parent
# Any location's environment has the packages that a new one needs; tests/stack installs it from its own lock.
LOCATION_VENV = ROOT / "platform_location/.venv/bin"


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_location_that_is_removed_leaves_every_file_as_it_was(copy: Path) -> None:
    before = content(copy)
    make_files(NAME, "weather-team", copy)
    made = set(content(copy)) - set(before)
    assert {path for path in made if not path.startswith(tuple(own_paths(NAME)))} == set()
    remove_files(NAME, copy)
    assert content(copy) == before


def test_of_two_locations_the_first_can_be_removed_first(copy: Path) -> None:
    make_files("bikes_location", "bikes-team", copy)
    with_one = content(copy)
    remove_files("bikes_location", copy)
    make_files(NAME, "weather-team", copy)
    make_files("bikes_location", "bikes-team", copy)
    remove_files(NAME, copy)
    assert content(copy) == with_one


def test_a_location_can_be_made_once(copy: Path) -> None:
    make_files(NAME, "weather-team", copy)
    before = content(copy)
    with pytest.raises(LocationError, match=r"weather_location exists already: weather_location, "):
        make_files(NAME, "weather-team", copy)
    assert content(copy) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "NAME='' is not a location's name"),
        ("weather", "NAME='weather' is not a location's name. Write lower case words with '_' between them"),
        ("Weather_location", "is not a location's name"),
        ("weather-location", "is not a location's name"),
        ("weather__location", "is not a location's name"),
        ("../weather_location", "is not a location's name"),
        ("2_location", "is not a location's name"),
        (f"a{LONGEST}", f"has {MAX_NAME + 1} letters"),
        ("dbt_location", "dbt_location exists already: dbt_location"),
        ("analytics_location", "its schema analytics is already created in dbt_location/warehouse.sql"),
        ("order_location", "a schema cannot be called order"),
        ("pg_stats_location", "a schema cannot be called pg_stats"),
    ],
)
def test_a_bad_name_is_refused_and_nothing_is_written(copy: Path, name: str, message: str) -> None:
    before = content(copy)
    with pytest.raises(LocationError, match=re.escape(message)):
        make_files(name, "team", copy)
    assert content(copy) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weather_location", "is not a location. The locations are: dbt_location,"),
        ("dbt_location", "was not made by `make new-lo"),
    ],
)
def test_what_the_template_did_not_make_is_not_removed(copy: Path, name: str, message: str) -> None:
    before = content(copy)
    with pytest.raises(LocationError, match=re.escape(message)):
        remove_files(name, copy)
    assert content(copy) == before


def test_a_shared_file_that_has_no_place_for_the_location_is_named_before_anything_is_written(copy: Path) -> None:
    (copy / "workspace.yaml").write_text("load_from: []\n")
    before = content(copy)
    with pytest.raises(LocationError, match=r"workspace\.yaml has no line like those of the other locations"):
        make_files(NAME, "weather-team", copy)
    assert content(copy) == before


def test_the_longest_name_that_is_allowed_has_as_many_letters_as_the_limit() -> None:
    assert len(LONGEST) == MAX_NAME


@pytest.mark.parametrize("name", ["a_location", LONGEST])
@pytest.mark.parametrize("command", [("format", "--check"), ("check",)])
def test_what_is_made_is_formatted_and_free_of_lint_whatever_its_name(
    copy: Path, name: str, command: tuple[str, ...]
) -> None:
    make_files(name, "team", copy)
    checked = subprocess.run([VENV / "ruff", *command, name], cwd=copy, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.drill
def test_the_new_locations_code_is_typed(copy: Path) -> None:
    make_files(NAME, "weather-team", copy)
    checked = subprocess.run(
        [LOCATION_VENV / "mypy", "--config-file", "../pyproject.toml", "src", "tests"],
        cwd=copy / NAME,
        env={**os.environ, "MYPYPATH": "src"},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.drill
def test_the_new_locations_definitions_load_and_its_own_tests_pass(copy: Path) -> None:
    make_files(NAME, "weather-team", copy)
    for command in (("dagster", "definitions", "validate"), ("pytest", "-m", "not drill")):
        ended = subprocess.run(
            [LOCATION_VENV / command[0], *command[1:]],
            cwd=copy / NAME,
            env={**os.environ, "PYTHONPATH": "src"},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "passed" in ended.stdout
    assert "skipped" not in ended.stdout


@pytest.fixture
def made(copy: Path) -> Path:
    """A copy with a new location."""
    make_files(NAME, "weather-team", copy)
    return copy


def test_the_new_location_is_in_the_workspace_under_its_own_name(made: Path) -> None:
    workspace = yaml.safe_load((made / "workspace.yaml").read_text())["load_from"]
    assert workspace[-1] == {"grpc_server": {"host": NAME, "port": 4000, "location_name": NAME}}
    assert len(workspace) == len(LOCATIONS) + 1


def test_a_run_of_the_new_location_gets_the_settings_of_its_code_server(made: Path) -> None:
    compose = yaml.safe_load((made / NAME / "compose.yaml").read_text())
    environment = compose["services"][NAME]["environment"]
    in_runs = compose["services"][policy_service(NAME)]["environment"]
    assert in_runs == {name: value for name, value in environment.items() if name != "DAGSTER_CURRENT_IMAGE"}


def test_its_network_leads_nowhere_and_only_the_platforms_services_are_on_the_platforms(made: Path) -> None:
    compose = yaml.safe_load((made / NAME / "compose.yaml").read_text())
    assert compose["networks"][NAME]["internal"]
    assert list(compose["services"][NAME]["networks"]) == [NAME]


@pytest.mark.parametrize(
    "service", ["postgres", "webserver", "daemon", "docker-proxy", "housekeeping-proxy", "alerts-proxy", "alerts"]
)
def test_a_new_location_changes_nothing_of_a_service_that_runs_for_all(copy: Path, service: str) -> None:
    before = platform_service(copy, service)
    make_files(NAME, "weather-team", copy)
    after = platform_service(copy, service)
    assert {key: value for key, value in after.items() if key != "depends_on"} == {
        key: value for key, value in before.items() if key != "depends_on"
    }


def platform_service(folder: Path, service: str) -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((folder / "docker-compose.yml").read_text())["services"][service]
    return described


def test_the_locks_of_the_template_carry_a_hash_for_every_package(made: Path) -> None:
    locks = [(made / NAME / f"{kind}.lock").read_text() for kind in ("requirements", "dev", "test", "installer")]
    lines = [line for lock in locks for line in lock.replace("\\\n", "").splitlines()]
    assert [line.split()[0] for line in lines if "--hash=sha256:" not in line] == []
