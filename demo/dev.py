"""`make dev`: serves Dagster's UI on the embedded warehouse and instance, with the locations that have data."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any

import yaml
from typer import Argument

from demo.postgres import STATE, running
from ops.command import ROOT
from ops.contract.workspace import check_settings
from ops.locations import DATA_LOCATIONS


def with_demo(env: Mapping[str, str], demo: Mapping[str, Any] | None) -> dict[str, str]:
    """The environment with the source and the range of the last demo, and with automation off, unless it sets them."""
    # A demo should not download files or launch runs that nobody asked for.
    defaults = {"TAXI_AUTOMATION": "off"}
    if demo:
        first, last = (date.fromisoformat(f"{demo['months'][number]['month']}-01") for number in (0, -1))
        end = (last + timedelta(days=31)).replace(day=1)
        defaults |= {"TLC_BASE_URL": demo["source"], "TLC_TAXI_TYPE": demo["taxi_type"]}
        defaults |= {"TAXI_START_DATE": f"{first}", "TAXI_END_DATE": f"{end}"}
    # An empty setting is as good as none, except for the end, for which it means none.
    return defaults | {name: value for name, value in env.items() if value or name == "TAXI_END_DATE"}


def dev(options: Annotated[list[str] | None, Argument()] = None) -> None:
    """Serve Dagster's UI on the demo's state. Takes the options of `dagster dev`."""
    check_settings()
    with running() as env:
        summary = STATE / "summary.json"
        env = with_demo(env, json.loads(summary.read_text()) if summary.exists() else None)
        # Each location is loaded by its own Python, with its own packages.
        modules = []
        for name in DATA_LOCATIONS:
            where = {"executable_path": f"{ROOT / name}/.venv/bin/python", "working_directory": f"{ROOT / name}"}
            modules.append({"module_name": f"{name}.definitions", "location_name": name, **where})
        workspace = STATE / "workspace.yaml"
        workspace.write_text(yaml.safe_dump({"load_from": [{"python_module": module} for module in modules]}))
        # If this process inherited an ignored signal, as a shell's background job does, dagster would ignore it, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # A session of its own: dagster gets a Ctrl-C only from here, and the warehouse stays up until it has ended.
        # The warning recommends a command that the demo has no use for.
        quiet = "-Wignore:Function `dev_command` is superseded"
        command = [sys.executable, quiet, "-m", "dagster", "dev", "--workspace", str(workspace), *(options or ())]
        # In a folder without .env: dagster reads that of the working directory, which is the stack's in this one.
        process = subprocess.Popen(command, cwd=env["DAGSTER_HOME"], env=env, start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: process.terminate())
        sys.exit(process.wait())
