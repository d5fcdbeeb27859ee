"""The locations of this checkout, each loaded in its own virtual environment."""

import json
import subprocess
from collections.abc import Iterable, Mapping

from ops.command import ROOT
from ops.contract.compare import Asset, breaches
from ops.errors import OpsError
from ops.locations import DATA_LOCATIONS, LocationError
from ops.table import print_table


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


def show() -> None:
    """Prints every asset that the locations with data make, and checks the contract between these locations.

    Raises:
        LocationError: a setting is wrong, or a location's definitions do not load.
        OpsError: the contract is broken.
    """
    check_settings()
    assets = describe_workspace()
    rows = []
    for asset in assets:
        if asset["materializable"]:
            keys = asset["partition_keys"]
            partitions = f"{asset['partitions']}, {len(keys)}: {keys[0]} to {keys[-1]}" if keys else "none"
            rows.append((asset["key"], asset["location"], partitions, ", ".join(asset["upstream"]) or "none"))
    print_table(("asset key", "location", "partitions", "upstream keys"), rows)
    if broken := breaches(assets):
        raise OpsError("\n".join(["", "The contract between the locations is broken:", *broken]))
