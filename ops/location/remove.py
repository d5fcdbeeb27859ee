"""Takes a code location out of the running stack and out of the repository.

usage: python -m ops.location.remove NAME [--drop-data]
"""

import argparse
import getpass
import shutil
import subprocess
import sys
from pathlib import Path

from ops.command import ROOT, CommandError, inspect, show
from ops.deploy.ledger import LockedError, locked
from ops.deploy.location import compose_config
from ops.deploy.webserver import WebserverError
from ops.location.stack import check_unused, has_role, is_running, run_once, tables_of, withdraw
from ops.location.tree import LocationError, check_made_here, own_paths, without_lines


def remove_files(name: str, root: Path = ROOT) -> None:
    """Removes the location's files, and its lines from the files that all locations share.

    Raises:
        LocationError: there is none of this name, or the template did not make it.
    """
    check_made_here(name, root)
    for path, content in without_lines(name, root).items():
        (root / path).write_text(content)
    for own in map(root.joinpath, own_paths(name)):
        if own.is_dir():
            shutil.rmtree(own)
        else:
            own.unlink(missing_ok=True)


def remove_location(name: str, drop_data: bool) -> None:
    """Removes a location everywhere, after its last run has ended.

    Args:
        name: the location.
        drop_data: that its tables go is wanted.

    Raises:
        LocationError: it is in use, or has data whose loss nobody confirmed; nothing was touched.
        CommandError, WebserverError: a step in the stack failed; the same command again goes on from there.
        LockedError: it is being deployed.
    """
    check_made_here(name)
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        raise LocationError(
            "There is no Docker engine (docker info fails), and the stack may have this location's data."
        )
    if has_role(name) and not drop_data:
        tables = "".join(f"\n  {table}" for table in tables_of(name)) or "\n  no table yet"
        raise LocationError(
            f"{name} has a role and a schema in the warehouse, which would be dropped with all tables:{tables}\n"
            f"If that is wanted: make remove-location NAME={name} DROP_DATA=1"
        )
    config = compose_config({})
    platform = config["services"]["webserver"]["image"]
    # Where there is no image of the platform's, there never was a stack.
    stack = inspect("image", platform) is not None
    if stack:
        check_unused(name)
        with locked(config["name"], name, platform, getpass.getuser()) as ledger:
            for what in withdraw(name, ledger):
                print(f"removed: {what}", flush=True)
    remove_files(name)
    print("removed: its files, and its lines in the files that all share", flush=True)
    if stack:
        # Or the next start would make the role and the entry again.
        show("docker", "compose", "build", "--quiet", "migrate")
        if is_running("postgres"):
            run_once("migrate")
            run_once("workspace")
    print(
        f"{name} is gone. The history of its runs and assets stays in the instance, as does what its sensors and "
        "schedules were set to."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--drop-data", action="store_true")
    given = parser.parse_args()
    try:
        remove_location(given.name, given.drop_data)
    except (CommandError, LocationError, LockedError, WebserverError) as error:
        sys.exit(str(error))
