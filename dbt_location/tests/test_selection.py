"""Which nodes a definition selects: evaluated here for the location's own selections, by dagster-dbt for all others."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dbt_location.defs.dbt_models import MONTHLY, PARTITIONED
from dbt_location.lean_dagster_dbt import select_unique_ids
from dbt_location.project import analytics_project, manifest

OWN = {
    "days": {"select": PARTITIONED, "exclude": MONTHLY},
    "months": {"select": MONTHLY},
    "no partitions": {"exclude": PARTITIONED},
}
OTHERS = {
    "a union": {"select": "tag:monthly stg_zones"},
    "an intersection": {"select": "tag:monthly,+zone_pickups"},
    "ancestors": {"select": "+daily_metrics"},
    "a path": {"select": "path:models/marts", "exclude": "location_metrics"},
    "a configuration": {"select": "config.materialized:view"},
    "a wildcard": {"select": "tag:month*"},
}


def models_and_tests(nodes: set[str]) -> set[str]:
    """What becomes an asset or a check."""
    return {node for node in nodes if node.startswith(("model.", "test."))}


def selected(manifest: Mapping[str, Any], select: str = "fqn:*", exclude: str = "", selector: str = "") -> set[str]:
    return models_and_tests(set(select_unique_ids(select, exclude, selector, analytics_project, manifest)))


def listed(project: Path, **selection: str) -> set[str]:
    """What `dbt ls` says, eagerly, with every test of the models, as dagster-dbt asks dbt."""
    options = [text for name, value in selection.items() for text in (f"--{name}", *value.split())]
    output = ("--output", "json", "--output-keys", "unique_id", "--indirect-selection", "eager")
    return models_and_tests({json.loads(line)["unique_id"] for line in dbt(project, "ls", *output, *options)})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, with a selector."""
    copy = tmp_path_factory.mktemp("dbt") / "analytics"
    shutil.copytree(analytics_project.project_dir, copy, ignore=shutil.ignore_patterns("target", "logs"))
    definition = {"union": [{"method": "tag", "value": "monthly"}, {"method": "fqn", "value": "daily_metrics"}]}
    (copy / "selectors.yml").write_text(json.dumps({"selectors": [{"name": "reported", "definition": definition}]}))
    dbt(copy, "parse")
    return copy


def dbt(project: Path, *arguments: str) -> Any:
    """Runs dbt in this process and returns its result."""
    from dbt.cli.main import dbtRunner

    folders = ("--project-dir", str(project), "--profiles-dir", str(project), "--log-path", str(project / "target"))
    result = dbtRunner().invoke([*arguments, "--quiet", *folders])
    assert result.success, result.exception
    return result.result


@pytest.mark.parametrize("selection", OWN.values(), ids=OWN)
def test_the_nodes_of_a_definition_are_those_that_dbt_selects(project: Path, selection: dict[str, str]) -> None:
    nodes = selected(manifest(), **selection)
    assert nodes
    assert nodes == listed(project, **selection)


@pytest.mark.parametrize("selection", OTHERS.values(), ids=OTHERS)
def test_every_other_selection_is_what_dbt_selects(project: Path, selection: dict[str, str]) -> None:
    nodes = selected(manifest(), **selection)
    assert nodes
    assert nodes == listed(project, **selection)


def test_a_selector_of_the_project_is_what_dbt_selects(project: Path) -> None:
    nodes = listed(project, selector="reported")
    parsed = json.loads((project / "target/manifest.json").read_text())
    assert "model.analytics.daily_metrics" in nodes
    assert selected(parsed, selector="reported") == nodes


def test_dbt_is_not_loaded_into_the_process_of_the_definitions() -> None:
    code = "import sys, dbt_location.definitions; print(sorted({'dbt', 'agate', 'networkx'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.splitlines()[-1] == "[]"
