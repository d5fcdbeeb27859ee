"""The dbt project ``analytics`` and its manifest."""

import json
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dagster_dbt import DbtProject

# dagster-dbt looks for dbt on the PATH, where a virtual environment that is used without activating it is not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

analytics_project = DbtProject(project_dir=Path(__file__).parents[2] / "analytics")
analytics_project.prepare_if_dev()


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
