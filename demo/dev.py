"""`make dev`: serves Dagster's UI on the embedded warehouse and instance, with the locations that have data."""

import json
import signal
import subprocess
import sys
from datetime import date, timedelta
from typing import Annotated

import yaml
from typer import Argument

from demo.postgres import STATE, running
from ops.command import ROOT
from ops.contract.workspace import check_settings
from ops.locations import DATA_LOCATIONS


def dev(options: Annotated[list[str] | None, Argument()] = None) -> None:
    """Serve Dagster's UI on the demo's state. Takes the options of `dagster dev`."""
    check_settings()
    with running() as env:
        summary = STATE / "summary.json"
        if summary.exists():
            # The demo's source and range, unless a setting says otherwise.
            demo = json.loads(summary.read_text())
            first, last = (date.fromisoformat(f"{demo['months'][number]['month']}-01") for number in (0, -1))
            end = (last + timedelta(days=31)).replace(day=1)
            env = {"TLC_BASE_URL": demo["source"], "TLC_TAXI_TYPE": demo["taxi_type"], **env}
            env = {"TAXI_START_DATE": f"{first}", "TAXI_END_DATE": f"{end}", **env}
        # A demo should not download files or launch runs that nobody asked for.
        env = {"TAXI_AUTOMATION": "off", **env}
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
        command = [
            sys.executable,
            # It recommends a command that the demo has no use for.
            "-Wignore:Function `dev_command` is superseded",
            "-m",
            "dagster",
            "dev",
            "--workspace",
            str(workspace),
            *(options or ()),
        ]
        # In a folder without .env: dagster reads that of the working directory, which is the stack's in this one.
        process = subprocess.Popen(command, cwd=env["DAGSTER_HOME"], env=env, start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: process.terminate())
        sys.exit(process.wait())
