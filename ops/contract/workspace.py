"""The locations of this project as their own Pythons see them, and `make assets`."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping

from ops.command import ROOT
from ops.contract.compare import Asset, breaches
from ops.locations import DATA_LOCATIONS


class LocationError(RuntimeError):
    """A location does not load; the message is what it said itself."""


def check_settings(env: Mapping[str, str] | None = None) -> None:
    """Checks the settings of the locations with data, each by its own rules.

    Raises:
        LocationError: a setting is wrong.
    """
    for location in DATA_LOCATIONS:
        python = ROOT / location / ".venv/bin/python"
        checked = subprocess.run([python, "-m", f"{location}.settings"], env=env, capture_output=True, text=True)
        if checked.returncode != 0:
            raise LocationError(checked.stderr.strip())


def describe_location(location: str, env: Mapping[str, str] | None = None) -> list[Asset]:
    """Describes a location's assets by loading it in its own virtual environment.

    Args:
        location: its name.
        env: environment to load it in; None is this process's own.

    Raises:
        LocationError: its definitions do not load.
    """
    python = ROOT / location / ".venv/bin/python"
    described = subprocess.run(
        [python, ROOT / "ops/contract/describe.py", location],
        cwd=ROOT / location,
        env=env,
        capture_output=True,
        text=True,
    )
    if described.returncode != 0:
        raise LocationError(f"{location}: its definitions do not load.\n{described.stderr.strip()}")
    assets: list[Asset] = json.loads(described.stdout.splitlines()[-1])
    return assets


def describe_workspace(locations: Iterable[str] = DATA_LOCATIONS, env: Mapping[str, str] | None = None) -> list[Asset]:
    """Describes the assets of the locations with data, or of others.

    Raises:
        LocationError: a location's definitions do not load.
    """
    return [asset for location in locations for asset in describe_location(location, env)]


def _table(assets: list[Asset]) -> str:
    rows = [("asset key", "location", "partitions", "upstream keys")]
    for asset in assets:
        if asset["materializable"]:
            keys = asset["partition_keys"]
            partitions = f"{asset['partitions']}, {len(keys)}: {keys[0]} to {keys[-1]}" if keys else "none"
            rows.append((asset["key"], asset["location"], partitions, ", ".join(asset["upstream"]) or "none"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


if __name__ == "__main__":
    try:
        check_settings()
        workspace = describe_workspace()
    except LocationError as error:
        sys.exit(str(error))
    print(_table(workspace))
    if broken := breaches(workspace):
        sys.exit("\n".join(["", "The contract between the locations is broken:", *broken]))
