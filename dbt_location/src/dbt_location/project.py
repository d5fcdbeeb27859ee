"""The dbt project ``analytics`` and its manifest."""

import json
import os
import sys
from collections.abc import Mapping
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from dagster_dbt import DbtCliResource, DbtProject
from packaging import version

# dagster-dbt looks for dbt on the PATH, where a virtual environment that is used without activating it is not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

analytics_project = DbtProject(project_dir=Path(__file__).parents[2] / "analytics")
analytics_project.prepare_if_dev()


class AnalyticsDbt(DbtCliResource):
    """The dbt command, run on the project."""

    @cached_property
    def _cli_version(self) -> version.Version:
        # The library would run `dbt --version`, which asks the package index for newer ones: 2 s in every run, and 20 s
        # where the network leads nowhere, as it does in this location's containers.
        return version.parse(metadata.version("dbt-core"))


@cache
def manifest() -> Mapping[str, Any]:
    """The parsed dbt project.

    The image brings it along; a fresh clone has none yet, so there dbt parses the project once.

    Raises:
        dagster_dbt.DagsterDbtError: dbt cannot parse the project.
    """
    if not analytics_project.manifest_path.exists():
        analytics_project.preparer.prepare(analytics_project)
    return dict(json.loads(analytics_project.manifest_path.read_text()))
