"""Checks one location as CI does, in a copy without the other locations."""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from typer import Option

from ops.command import ROOT, OpsError, log, run, show
from ops.contract.compare import not_judged
from ops.locations import NameArgument, check_exists


def check_location(
    name: NameArgument,
    python: Annotated[Path | None, Option(help="Run the tests only, with this Python; it has dev.lock.")] = None,
) -> None:
    """Check and test one location in a copy without the others."""
    with tempfile.TemporaryDirectory(prefix="alone-") as folder:
        copy_alone(name, Path(folder))
        _check(Path(folder), name, python)


def copy_alone(name: str, folder: Path) -> None:
    """Copies the files of a location that git knows or would add, and the shared settings of the tools."""
    check_exists("NAME", name)
    list_files = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--")
    # The root's pyproject.toml has the settings of ruff, mypy and pytest.
    for path in filter(None, run(*list_files, name, "pyproject.toml").split("\0")):
        if (ROOT / path).exists():  # a deleted file is listed until the deletion is committed
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)


def _check(folder: Path, name: str, python: Path | None) -> None:
    location = folder / name
    tools = (python or location / ".venv/bin/python").absolute().parent
    if python is None:
        install: tuple[str, ...]
        # As the Makefile does.
        if shutil.which("uv"):
            _run(folder, "uv", "venv", "--quiet", "--python", sys.executable, f"{location}/.venv")
            install = ("uv", "pip", "install", "--python", f"{tools}/python", "--quiet", "--no-deps")
        else:
            _run(folder, sys.executable, "-m", "venv", f"{location}/.venv")
            install = (f"{tools}/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        for lock in ("requirements.lock", "dev.lock"):
            _run(location, *install, "--require-hashes", "--requirement", lock)
        _run(location, *install, "--no-build-isolation", "--no-index", "--editable", ".")
        _run(folder, f"{tools}/ruff", "format", "--check", ".")
        _run(folder, f"{tools}/ruff", "check", ".")
        own = [path for path in ("src", "tests") if (location / path).is_dir()]
        _run(location, f"{tools}/mypy", "--config-file", "../pyproject.toml", *own, MYPYPATH="src:tests:..")
        _run(location, f"{tools}/dagster", "definitions", "validate")
    check_dependencies(location, tools / "python")
    if (location / "tests").is_dir():
        _run(location, f"{tools}/pytest", "-m", "not drill")


def check_dependencies(location: Path, python: Path) -> None:
    """Refuses dependencies that cannot be judged, before a deploy does."""
    script = str(ROOT / "ops/contract/describe.py")
    described = run(str(python), script, location.name, env={"PYTHONPATH": str(location / "src")})
    if sentences := not_judged(json.loads(described.splitlines()[-1])):
        raise OpsError("\n".join(sentences))


def _run(folder: Path, *command: str, **env: str) -> None:
    log(f"$ {' '.join(command)}")
    # Imports come from the copy, even if the environment has the original package installed.
    path = {"PYTHONPATH": "src"} if folder.name.endswith("_location") else {}
    show(*command, cwd=folder, env={**path, **env})
