"""`make dev`: serves Dagster's UI on the embedded warehouse and instance, with the locations with data loaded."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from demo.postgres import STATE, running
from ops.command import ROOT
from ops.contract.workspace import check_settings
from ops.locations import DATA_LOCATIONS, LocationError


def write_workspace(path: Path) -> None:
    """Writes a workspace file in which each location is loaded by its own Python, with its own packages."""
    modules = [
        {
            "module_name": f"{location}.definitions",
            "location_name": location,
            "executable_path": str(ROOT / location / ".venv/bin/python"),
            "working_directory": str(ROOT / location),
        }
        for location in DATA_LOCATIONS
    ]
    path.write_text(yaml.safe_dump({"load_from": [{"python_module": module} for module in modules]}))


def main() -> int:
    """Runs `dagster dev` until it is interrupted and returns its exit code."""
    with running() as env:
        summary = STATE / "summary.json"
        if summary.exists():
            # What is materialized from the UI comes from where the demo's files came from, unless told otherwise.
            demo = json.loads(summary.read_text())
            env = {"TLC_BASE_URL": demo["source"], "TLC_TAXI_TYPE": demo["taxi_type"], **env}
        # Whoever looks at the demo wants no downloads and no runs that nobody asked for.
        env = {"TAXI_AUTOMATION": "off", **env}
        workspace = STATE / "workspace.yaml"
        write_workspace(workspace)
        dagster = Path(sys.executable).with_name("dagster")
        processes: list[subprocess.Popen[bytes]] = []

        def stop(*_: object) -> None:
            for process in processes:
                process.terminate()

        # Set before dagster starts: a signal that this process was told to ignore, as a shell does for its background
        # jobs, dagster would ignore too.
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        # A session of its own: Ctrl-C reaches it once, from here, and the warehouse stays up until it has shut down.
        command = [str(dagster), "dev", "--workspace", str(workspace), *sys.argv[1:]]
        process = subprocess.Popen(command, env=env, start_new_session=True)
        processes.append(process)
        return process.wait()


if __name__ == "__main__":
    try:
        check_settings()
    except LocationError as error:
        sys.exit(str(error))
    sys.exit(main())
