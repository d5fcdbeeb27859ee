"""The locations share nothing but the asset: no Python, no image and no setting."""

import ast
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.command import ROOT
from ops.locations import LOCATIONS, policy_service

PLATFORM = {"benchmarks", "demo", "ops", "services", "tests"}


def imported(path: Path) -> set[str]:
    """Top-level names of all packages that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_location_imports_nothing_of_the_others_or_of_the_platform(location: str) -> None:
    foreign = (PLATFORM | set(LOCATIONS)) - {location}
    modules = list((ROOT / location / "src").rglob("*.py"))
    assert modules
    assert {path.name: imported(path) & foreign for path in modules if imported(path) & foreign} == {}


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_run_gets_the_settings_of_its_code_server(location: str) -> None:
    services = compose_file(location)["services"]
    environment, in_runs = services[location]["environment"], services[policy_service(location)]["environment"]
    own = {"DAGSTER_CURRENT_IMAGE"}
    # The sensors of platform_location need Docker; its runs do not.
    own |= {"DOCKER_HOST"} if location == "platform_location" else set()
    assert in_runs == {name: value for name, value in environment.items() if name not in own}


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_location_is_listed_in_the_workspace_under_its_own_name(location: str) -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert {"grpc_server": {"host": location, "port": 4000, "location_name": location}} in workspace


@pytest.mark.parametrize("name", ["requirements.lock", "test.lock", "dev.lock", "installer.lock"])
@pytest.mark.parametrize("location", LOCATIONS)
def test_the_locks_carry_a_hash_for_every_package(location: str, name: str) -> None:
    requirements = (ROOT / location / name).read_text().replace("\\\n", "").splitlines()
    assert requirements
    assert [line.split()[0] for line in requirements if "--hash=sha256:" not in line] == []


# `make check-location` runs the other usual command, `dagster definitions validate`.
@pytest.mark.drill
@pytest.mark.parametrize("location", LOCATIONS)
def test_dg_lists_the_definitions_in_a_locations_folder(location: str) -> None:
    folder = ROOT / location
    command = (folder / ".venv/bin/dg", "list", "defs", "--json")
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.drill
def test_dg_loads_every_location_from_the_root_by_the_locations_own_python(tmp_path: Path) -> None:
    command = ("dg", "check", "defs", "--log-level", "info")
    ended = subprocess.run(
        [ROOT / "platform_location/.venv/bin" / command[0], *command[1:]],
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    validated = re.findall(r"Validation successful for code location (\w+)\.", ended.stdout + ended.stderr)
    assert set(validated) == set(LOCATIONS)


def compose_file(location: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / location / "compose.yaml").read_text())
    return content
