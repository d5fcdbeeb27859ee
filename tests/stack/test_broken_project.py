"""A broken dbt project fails the build of the image, not a run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.command import ROOT
from tests.stack.conftest import NO_ENGINE, engine_answers


@pytest.mark.skipif(not os.environ.get("REQUIRE_DOCKER") and not engine_answers(), reason=NO_ENGINE)
def test_a_dbt_project_that_cannot_be_parsed_fails_the_build_of_the_image(tmp_path: Path) -> None:
    folder = tmp_path / "dbt_location"
    shutil.copytree(ROOT / "dbt_location", folder, ignore=shutil.ignore_patterns(".venv", "target", "logs"))
    model = folder / "analytics/models/marts/daily_metrics.sql"
    model.write_text(model.read_text().replace("ref('stg_trips')", "ref('stg_trip')"))
    built = subprocess.run(["docker", "build", "--tag", "dbt_location:broken", folder], capture_output=True, text=True)
    assert built.returncode != 0
    assert "depends on a node named 'stg_trip' which was not found" in built.stdout + built.stderr
