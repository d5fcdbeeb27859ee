"""CI's workflows: well formed, one per location, and made of commands that exist."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.command import ROOT
from ops.locations import LOCATIONS

WORKFLOWS = ROOT / ".github/workflows"
FILES = sorted(WORKFLOWS.glob("*.yml"))


def read(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    return content


def test_the_workflows_are_what_githubs_schema_allows() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [f"{tool}", "--builtin-schema", "vendor.github-workflows", *map(str, FILES)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_change_of_a_location_starts_its_own_workflow_alone(location: str) -> None:
    callers = [path.stem for path in FILES if f"{location}/**" in str(paths(path))]
    assert callers == [location]
    assert read(WORKFLOWS / f"{location}.yml")["jobs"]["location"]["with"] == {"location": location}


def paths(workflow: Path) -> list[str]:
    """The paths whose changes start a workflow."""
    triggers = read(workflow)[True]  # `on`, to YAML 1.1
    of_pulls, of_pushes = (triggers.get(kind, {}).get("paths", []) for kind in ("pull_request", "push"))
    assert of_pulls == of_pushes
    return list(of_pulls)


@pytest.mark.parametrize("location", LOCATIONS)
def test_the_workflows_of_the_locations_differ_in_the_name_alone(location: str) -> None:
    template = (ROOT / "ops/template/files/.github/workflows/{{ name }}.yml.jinja").read_text()
    assert (WORKFLOWS / f"{location}.yml").read_text() == template.replace("{{ name }}", location)


@pytest.mark.parametrize(
    ("workflow", "job"), [("location.yml", "check"), ("location.yml", "deploy"), ("platform.yml", "test")]
)
def test_every_step_is_a_target_of_the_makefile(workflow: str, job: str) -> None:
    steps = [step["run"] for step in read(WORKFLOWS / workflow)["jobs"][job]["steps"] if "run" in step]
    assert steps
    for step in steps:
        target = re.fullmatch(r"make ([a-z-]+)( [A-Z]+=\"\$LOCATION\")?", step)
        assert target, step
        known = subprocess.run(
            ["make", "--dry-run", target[1], "NAME=dbt_location", "LOCATION=dbt_location"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert known.returncode == 0, known.stderr


def test_a_location_is_deployed_after_its_checks_and_from_main_alone() -> None:
    deploy = read(WORKFLOWS / "location.yml")["jobs"]["deploy"]
    assert (deploy["needs"], "refs/heads/main" in deploy["if"]) == ("check", True)
