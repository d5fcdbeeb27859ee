"""A process of dbt that is ready before its command is known.

dbt needs 2 s until its first query, most of it for imports. This process does that while the run's process imports
Dagster, and then waits for the command of the run. As a module this file is that process.
"""

import contextlib
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2] / "analytics"
_ready: list["subprocess.Popen[bytes]"] = []


def collect_less() -> None:
    """Makes Python collect garbage less often: it takes a tenth of the CPU of imports, which leave no garbage."""
    gc.set_threshold(50_000, 20, 100)


def start() -> "subprocess.Popen[bytes]":
    """Starts the process. It ends with this one, if it was given no command."""
    command = [sys.executable, "-P", "-u", "-m", __name__]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    _ready.append(subprocess.Popen(command, cwd=PROJECT, **pipes))
    return _ready[-1]


def run(args: Sequence[str], *, env: dict[str, str], cwd: Path, **pipes: Any) -> "subprocess.Popen[bytes]":
    """Runs a command of dbt, in the ready process if there is one; dagster-dbt calls it in place of subprocess.Popen.

    Args:
        args: the program and its arguments.
    """
    if _ready and cwd.samefile(PROJECT):
        process = _ready.pop()
        assert process.stdin is not None
        # Nobody reads what dbt would write beside its output: it goes with the container.
        command = {"args": args[1:], "env": {**env, "DBT_WRITE_JSON": "false"}}
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(command).encode())
            process.stdin.close()
            process.args = args
            return process
    return subprocess.Popen(args, env=env, cwd=cwd, **pipes)


def _read_project(dbt: Any) -> Any:
    """The project as dbt has parsed it before, or parses it now if a file has changed; None if dbt cannot."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        written = ["--no-write-json", "--target-path", folder, "--log-path", folder]
        parsed = ["--partial-parse-file-path", str(PROJECT / "target/partial_parse.msgpack")]
        # The command itself says what is wrong with the project.
        return dbt.dbtRunner().invoke(["parse", "--quiet", *written, *parsed, "--profiles-dir", str(PROJECT)]).result


def _serve() -> None:
    from dbt.cli import main

    project = _read_project(main)
    if command := sys.stdin.read():
        given = json.loads(command)
        os.environ.clear()
        os.environ.update(given["env"])
        # What the program dbt does, but with a project.
        args = given["args"]
        ready = {"manifest": project, "callbacks": [], "dbt_runner_command_args": args}
        main.cli.main(args, prog_name="dbt", obj=ready)


if __name__ == "__main__":
    collect_less()
    _serve()
