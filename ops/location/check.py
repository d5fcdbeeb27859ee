"""Checks one location alone: its folder and what its tests need, in a copy that has nothing of the other locations.

usage: python -m ops.location.check NAME [--python LOCATION'S PYTHON] [--tests-only]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from ops.command import ROOT
from ops.location.tree import LocationError

# How the whole repository is formatted, linted, typed and tested.
SHARED = ("pyproject.toml",)


def copy_alone(name: str, folder: Path, root: Path = ROOT) -> None:
    """Copies a location, its tests, and the files that its pyproject.toml says they need, as git would have them.

    Raises:
        LocationError: there is no such location, or a file that it names is not there.
    """
    project = root / name / "pyproject.toml"
    if not name or not project.is_file():
        there = ", ".join(sorted(path.parent.name for path in root.glob("*_location/pyproject.toml")))
        raise LocationError(f"NAME={name!r} is no location. There are: {there}.")
    needs = tomllib.loads(project.read_text()).get("tool", {}).get("location", {}).get("tests_need", [])
    for path in needs:
        if not (root / path).exists():
            raise LocationError(f"{name}/pyproject.toml: tests_need names {path}, which is not there.")
    list_files = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--")
    listed = subprocess.run(
        [*list_files, name, *SHARED, *needs], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    for path in filter(None, listed.split("\0")):
        if (root / path).exists():  # what is deleted and not committed is still listed
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / path, folder / path)


def check(name: str, folder: Path, python: Path | None, tests_only: bool = False) -> None:
    """Runs format, lint, types and tests in a copy.

    Args:
        name: the location.
        folder: the copy.
        python: Python of an environment that was made from the location's dev.lock; None makes one in the copy.
        tests_only: leaves out format, lint and types.

    Raises:
        CalledProcessError: a check failed, which says why itself.
    """
    location = folder / name
    if python is None:
        python = location / ".venv/bin/python"
        _run(folder, sys.executable, "-m", "venv", f"{location}/.venv")
        install = (f"{python}", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        for lock in ("requirements.lock", "dev.lock"):
            _run(location, *install, "--require-hashes", "--requirement", lock)
        _run(location, *install, "--no-build-isolation", "--no-index", "--editable", ".")
    tools = python.absolute().parent
    if not tests_only:
        _run(folder, f"{tools}/ruff", "format", "--check", ".")
        _run(folder, f"{tools}/ruff", "check", ".")
        own = [path for path in ("src", "tests") if (location / path).is_dir()]
        _run(location, f"{tools}/mypy", "--config-file", "../pyproject.toml", *own, MYPYPATH="src:tests:..")
    _run(location, f"{tools}/dagster", "definitions", "validate")
    if (location / "tests").is_dir():
        _run(location, f"{tools}/pytest", "-m", "not drill")


def _run(folder: Path, *command: str, **env: str) -> None:
    print(f"$ {' '.join(command)}", flush=True)
    # The copy's package, also where the environment has the original installed.
    path = {"PYTHONPATH": "src"} if folder.name.endswith("_location") else {}
    subprocess.run(command, cwd=folder, env={**os.environ, **path, **env}, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--python", type=Path, help="of an environment made from the location's dev.lock")
    parser.add_argument("--tests-only", action="store_true", help="without format, lint and types")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alone-") as alone:
        try:
            copy_alone(given.name, Path(alone))
            check(given.name, Path(alone), given.python, given.tests_only)
        except LocationError as error:
            sys.exit(str(error))
        except subprocess.CalledProcessError as error:
            sys.exit(f"{given.name}: {Path(error.cmd[0]).name} failed; it says why above.")
