"""The Makefile hands its arguments to the tool as values, never as shell text, and says what matters of an install."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ops.command import ROOT
from ops.locations import LOCATIONS

HOSTILE = ["$(shell touch executed)", "$$(touch executed)", "$(touch executed)", "`touch executed`"]
HOSTILE += ["; touch executed", '"; touch executed; "', "'; touch executed; '", "--force", "", "a  b", "$HOME"]
# Per argument, the target that takes it, and what the tool gets for it.
TAKEN = {
    "LOCATION": ("deploy", "deploy", "--", "{}"),
    "TAG": ("deploy", "deploy", "--tag={}", "--"),
    "NAME": ("remove-location", "remove-location", "--", "{}"),
    "TEAM": ("new-location", "new-location", "--", "{}"),
    "BACKUP": ("restore", "restore", "--", "{}"),
    "TO": ("restore", "restore", "--to={}", "--"),
    "SINCE": ("audit", "audit", "--since={}"),
    "ROLE": ("token", "tokens", "add", "--role={}", "--"),
    "SQL": ("query", "query", "--", "{}"),
    "FORMAT": ("status", "status", "--format={}"),
    "FORCE": ("rollback", "rollback", "--"),
    "REBUILD": ("demo", "demo"),
    "DROP_DATA": ("remove-location", "remove-location", "--"),
}
# What locations begin with, and each that is here.
PROJECTS = [
    ROOT / "ops/template/files/{{ name }}/pyproject.toml.jinja",
    *(ROOT / n / "pyproject.toml" for n in LOCATIONS),
]
# One argument of the tool per line, and the end of all.
TOOL = """#!/bin/sh
shift 2
printf '%s\\n' "$@" > called
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the Makefile, where the tool only notes what it is called with."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for lock in ("ops", "demo", "tests"):
        (tmp_path / lock).mkdir()
        (tmp_path / lock / "requirements.lock").touch()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for installed in (".ops", ".demo", ".dev"):
        (tmp_path / ".venv" / installed).touch()
    tool = tmp_path / ".venv/bin/python"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    return tmp_path


def call(folder: Path, *arguments: str, **env: str) -> list[str]:
    """Runs make and returns what the tool was called with."""
    made = subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=folder, env={**os.environ, **env}, capture_output=True
    )
    assert made.returncode == 0, made.stderr.decode()
    return (folder / "called").read_text().splitlines()


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("argument", TAKEN)
@pytest.mark.parametrize("from_environment", [False, True])
def test_an_argument_reaches_the_tool_as_it_was_given_and_executes_nothing(
    folder: Path, argument: str, value: str, from_environment: bool
) -> None:
    target, *expected = TAKEN[argument]
    called = (
        call(folder, target, **{argument: value}) if from_environment else call(folder, target, f"{argument}={value}")
    )
    assert called == [one.format(value) for one in expected]
    assert not (folder / "executed").exists()


def test_a_variable_that_no_target_knows_executes_nothing(folder: Path) -> None:
    call(folder, "deploy", "UNKNOWN=$(shell touch executed)")
    assert not (folder / "executed").exists()


def test_an_argument_that_is_not_given_does_not_reach_the_tool(folder: Path) -> None:
    assert call(folder, "deploy") == ["deploy", "--"]


@pytest.mark.parametrize(("target", "option"), [("deploy", "--force"), ("rollback", "--force"), ("restore", "--force")])
def test_force_is_given_as_1(folder: Path, target: str, option: str) -> None:
    assert call(folder, target, "FORCE=1") == [target, option, "--"]


def test_the_demo_builds_again_what_is_outdated_with_1(folder: Path) -> None:
    assert call(folder, "demo", "REBUILD=1") == ["demo", "--rebuild"]


def test_the_loss_of_data_is_confirmed_with_1(folder: Path) -> None:
    assert call(folder, "remove-location", "NAME=x_location", "DROP_DATA=1") == [
        "remove-location",
        "--drop-data",
        "--",
        "x_location",
    ]


def install(folder: Path, lock: str, uv: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Installs a lock into a new environment by a pip that knows no index and warns of its settings, or by uv."""
    (folder / "ops/requirements.lock").write_text(lock)
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"/nonexistent {folder}", "PIP_CONFIG_FILE": os.devnull, **env}
    command = ["make", ".venv/.ops", f"PYTHON={sys.executable}", f"UV={uv}"]
    return subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True)


def lock_of_a_package(folder: Path) -> str:
    """Writes a package into the folder and returns the line of a lock for it."""
    name = "nothing-1-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("nothing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1\n")
        wheel.writestr("nothing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("nothing-1.dist-info/RECORD", "")
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return f"nothing==1 --hash=sha256:{digest}"


def test_an_installation_prints_one_line_whatever_pip_warns_of(folder: Path) -> None:
    shutil.rmtree(folder / ".venv")
    ended = install(folder, lock_of_a_package(folder), PYTHONHOME="/nonexistent", PYTHONPATH="/nonexistent")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "Installing ops/requirements.lock\n")
    assert "/nonexistent" in (folder / ".venv/pip.log").read_text()


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_uv_installs_where_it_is_installed_and_pip_adds_to_its_environment(folder: Path) -> None:
    shutil.rmtree(folder / ".venv")
    lock = lock_of_a_package(folder)
    ended = install(folder, lock, uv="uv", UV_NO_CONFIG="1", UV_NO_INDEX="1", UV_FIND_LINKS=str(folder))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "Installing ops/requirements.lock\n")
    installed = [path.name for path in folder.glob(".venv/lib/*/site-packages/*.dist-info")]
    assert installed == ["nothing-1.dist-info"]
    assert install(folder, lock, PIP_FIND_LINKS=str(folder)).returncode == 0
    assert (folder / ".venv/bin/pip").exists()


def test_an_installation_that_fails_prints_what_pip_said_the_path_of_its_log_and_its_exit_code(folder: Path) -> None:
    shutil.rmtree(folder / ".venv")
    ended = install(folder, f"missing==1 --hash=sha256:{'0' * 64}")
    assert "No matching distribution found for missing==1" in ended.stderr
    assert "pip could not install ops/requirements.lock. Its output is above and in ./.venv/pip.log." in ended.stderr
    assert ended.stderr.endswith("Error 1\n")
    assert not (folder / ".venv/.ops").exists()


@pytest.mark.parametrize("value", HOSTILE[:7])
def test_the_name_of_an_image_executes_nothing(folder: Path, value: str) -> None:
    tool = folder / "bin/docker"
    tool.parent.mkdir()
    tool.write_text(TOOL.replace("shift 2\n", ""))
    tool.chmod(0o755)
    called = call(folder, "build-location", f"NAME={value}", f"TAG={value}", PATH=f"{tool.parent}:{os.environ['PATH']}")
    assert called == ["build", "--build-arg", "PYTHON_IMAGE", "--tag", f"{value}:{value}", f"./{value}"]
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.parent.name)
def test_a_location_knows_the_markers_by_which_its_drills_are_chosen(project: Path) -> None:
    chosen = re.search(r'^drill := -m "(.*)"$', (ROOT / "Makefile").read_text(), re.MULTILINE)
    declared = re.search(r"^markers = \[(.*?)^\]", project.read_text(), re.MULTILINE | re.DOTALL)
    assert chosen
    assert declared
    markers = set(chosen[1].split()) - {"and", "not"}
    assert markers <= set(re.findall(r'"(\w+):', declared[1]))
