"""Removes a code location from the running stack and from the repository."""

import getpass
import shutil
from pathlib import Path

from ops import compose
from ops.command import ROOT, CommandError, inspect, log, run, show
from ops.deploy.ledger import locked
from ops.locations import LocationError
from ops.scaffold.stack import check_unused, has_role, tables_of, withdraw
from ops.scaffold.tree import check_made_here, own_paths, without_lines


def remove_files(name: str, root: Path = ROOT) -> None:
    """Removes the location's files, and its lines from the files that all locations share."""
    check_made_here(name, root)
    for path, content in without_lines(name, root).items():
        (root / path).write_text(content)
    for own in map(root.joinpath, own_paths(name)):
        if own.is_dir():
            shutil.rmtree(own)
        else:
            own.unlink(missing_ok=True)


def remove_location(name: str, drop_data: bool) -> None:
    """Removes a location that is no longer in use. If a step fails, the same command continues from there.

    Raises:
        LocationError: it is in use, or has tables and ``drop_data`` is not set; nothing was touched.
    """
    check_made_here(name)
    try:
        run("docker", "info")
    except CommandError:
        raise LocationError(
            "There is no Docker engine (docker info fails), and the stack may have this location's data."
        ) from None
    if has_role(name) and not drop_data:
        tables = "".join(f"\n  {table}" for table in tables_of(name)) or "\n  no table yet"
        raise LocationError(
            f"{name} has a role and a schema in the warehouse, which would be dropped with all tables:{tables}\n"
            f"If that is wanted: make remove-location NAME={name} DROP_DATA=1"
        )
    config = compose.config()
    platform = config["services"]["webserver"]["image"]
    # Without an image of the platform, there never was a stack.
    stack = inspect("image", platform) is not None
    if stack:
        check_unused(name)
        with locked(config["name"], name, platform, getpass.getuser()) as ledger:
            for what in withdraw(name, ledger):
                log(f"removed: {what}")
    remove_files(name)
    log("removed: its files, and its lines in the shared files")
    if stack:
        # Otherwise the next start would make the role and the workspace entry again.
        show("docker", "compose", "build", "--quiet", "migrate")
        if compose.is_running("postgres"):
            compose.run_once("migrate")
            compose.run_once("workspace")
    log(
        f"{name} is removed. The instance keeps the history of its runs and assets, and the state of its sensors and "
        "schedules."
    )
