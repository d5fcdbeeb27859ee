"""The dbt project ``analytics`` and its manifest."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging import version

from dbt_location.lean_dagster_dbt import DbtCliInvocation, DbtCliResource, DbtProject

# dagster-dbt looks for dbt on the PATH, which lacks a virtual environment that is not activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

analytics_project = DbtProject(project_dir=Path(__file__).parents[2] / "analytics")


class AnalyticsDbt(DbtCliResource):
    """The dbt command, run on the project."""

    def cli(self, args: Sequence[str], *, target_path: Path | None = None, **others: Any) -> DbtCliInvocation:
        if target_path is None and not os.access(
            analytics_project.project_dir / analytics_project.target_path, os.W_OK
        ):
            # As in the container of a run, where only the folder of temporary files can be written.
            target_path = Path(tempfile.mkdtemp(prefix="dbt-"))
        return super().cli(args, target_path=target_path, **others)

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
    """The parsed dbt project. The image contains it; in a clone, dbt parses the project first if a file has changed."""
    path, folder = analytics_project.manifest_path, Path(analytics_project.project_dir)
    parsed = path.stat().st_mtime if path.exists() else 0
    files = [*folder.glob("*.yml"), *folder.glob("models/**/*.*"), *folder.glob("macros/*"), *folder.glob("tests/*/*")]
    if any(file.stat().st_mtime > parsed for file in files):
        # Not by the project's own preparer, whose dbt command would load dbt into this process.
        dbt = AnalyticsDbt(project_dir=str(folder))
        dbt.cli(["parse", "--quiet"], target_path=analytics_project.target_path).wait()
    return dict(json.loads(path.read_text()))
