"""The dbt project ``analytics`` and its manifest."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging import version

from dbt_location.lean_dagster_dbt import DbtCliResource, DbtProject

# dagster-dbt looks for dbt on the PATH, where a virtual environment that is used without activating it is not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

analytics_project = DbtProject(project_dir=Path(__file__).parents[2] / "analytics")


class AnalyticsDbt(DbtCliResource):
    """The dbt command, run on the project."""

    @cached_property
    def _cli_version(self) -> version.Version:
        # The library would run `dbt --version`, which asks the package index for newer ones: 2 s in every run, and 20 s
        # where the network leads nowhere, as it does in this location's containers.
        return version.parse(metadata.version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> None:  # type: ignore[override]
        # The library would load dbt into this process as well, for queries of its own (fetch_row_counts,
        # fetch_column_metadata) that no asset here makes.
        return None


@cache
def manifest() -> Mapping[str, Any]:
    """The parsed dbt project.

    The image brings it along; in a clone that has none yet, or one from before a change, dbt parses the project first.

    Raises:
        dagster_dbt.DagsterDbtError: dbt cannot parse the project.
    """
    if _is_stale(analytics_project.manifest_path):
        # Not by the project's own preparer, whose dbt command would load dbt into this process.
        parse = AnalyticsDbt(project_dir=str(analytics_project.project_dir)).cli(
            ["parse", "--quiet"], target_path=analytics_project.target_path
        )
        parse.wait()
    return dict(json.loads(analytics_project.manifest_path.read_text()))


def _is_stale(manifest_path: Path) -> bool:
    """Whether the manifest is missing, or older than a file that it was made from."""
    if not manifest_path.exists():
        return True
    made = manifest_path.stat().st_mtime
    folder = Path(analytics_project.project_dir)
    files = [
        *folder.glob("*.yml"),
        *folder.glob("models/**/*.*"),
        *folder.glob("macros/**/*.*"),
        *folder.glob("tests/**/*.*"),
    ]
    return any(file.stat().st_mtime > made for file in files)
