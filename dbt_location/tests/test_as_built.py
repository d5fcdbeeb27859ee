"""What was built serves what it should, without a network, a database or a setting."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dbt_location.definitions import defs
from dbt_location.project import analytics_project, manifest


def test_every_model_of_the_project_is_an_asset() -> None:
    models = {node["name"] for node in manifest()["nodes"].values() if node["resource_type"] == "model"}
    assets = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    assert models <= assets


def test_every_asset_has_the_resources_that_it_names() -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_manifest_is_what_dbt_makes_of_the_project(tmp_path: Path) -> None:
    folder = str(analytics_project.project_dir)
    options = [
        "--project-dir",
        folder,
        "--profiles-dir",
        folder,
        "--target-path",
        str(tmp_path),
        "--log-path",
        str(tmp_path),
    ]
    dbt = str(Path(sys.executable).with_name("dbt"))
    subprocess.run([dbt, "--quiet", "parse", "--no-partial-parse", *options], check=True)
    assert described(json.loads((tmp_path / "manifest.json").read_text())) == described(manifest())


def described(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of the project, without when and where it was made."""
    resources = {**parsed["nodes"], **parsed["sources"], **parsed["macros"], **parsed["unit_tests"]}
    volatile = {"created_at", "build_path", "root_path"}
    return {name: {key: said[key] for key in said.keys() - volatile} for name, said in resources.items()}
