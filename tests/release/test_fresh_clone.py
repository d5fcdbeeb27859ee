"""The README's commands work in a fresh clone."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.command import ROOT
from tests.stack.conftest import NO_ENGINE, PROJECT, engine_answers


def python_of(version: str) -> str | None:
    """The executable of a Python version, if this machine has one."""
    for name in (f"python{version}", "python3"):
        path = shutil.which(name)
        code = f"import sys; sys.exit(sys.version_info[:2] != tuple(map(int, '{version}'.split('.'))))"
        if path and subprocess.run([path, "-c", code], capture_output=True).returncode == 0:
            return path
    return None


@pytest.fixture
def clone(open_folder: Path) -> Path:
    """A clone in a folder whose name a shell, make, a URL or a format could misread, or find too long."""
    folder = Path(tempfile.mkdtemp(dir=open_folder)) / f"it's 100 %41 é{' long' * 20}"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    return folder


PYTHONS = {version: python for version in ("3.11", "3.12", "3.13") if (python := python_of(version))}


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_make_demo_works_in_a_fresh_clone_and_is_quick_the_second_time(python: str, clone: Path) -> None:
    first = subprocess.run(["make", "demo", f"PYTHON={python}"], cwd=clone, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    summary = json.loads((clone / ".demo/summary.json").read_text())
    assert (len(summary["months"]), summary["days"]) == (3, 90)

    second = subprocess.run(["make", "demo", f"PYTHON={python}"], cwd=clone, capture_output=True, text=True)
    assert (second.returncode, "done in" in second.stdout) == (0, False)


@pytest.fixture
def without_settings(clone: Path) -> Iterator[dict[str, str]]:
    """An environment without settings, except for those that avoid collisions with a running stack."""
    names = ("TAXI_START_DATE", "TAXI_END_DATE", "TAXI_AUTOMATION", "TLC_BASE_URL", "TLC_TAXI_TYPE", "REPORTS_URL")
    env = {name: value for name, value in os.environ.items() if name not in names}
    env |= {"COMPOSE_PROJECT_NAME": PROJECT, "WEBSERVER_PORT": "3901"}
    yield env
    subprocess.run(["make", "destroy"], cwd=clone, env=env, check=True)


@pytest.mark.skipif(not os.environ.get("REQUIRE_DOCKER") and not engine_answers(), reason=NO_ENGINE)
def test_docker_compose_up_works_in_a_fresh_clone_without_any_setting(
    clone: Path, without_settings: dict[str, str]
) -> None:
    command = ["docker", "compose", "up", "-d", "--build", "--wait"]
    up = subprocess.run(command, cwd=clone, env=without_settings, capture_output=True, text=True)
    assert up.returncode == 0, up.stdout + up.stderr
