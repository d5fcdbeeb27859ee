"""The locations of this checkout, each loaded in its own virtual environment."""

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from ops.command import ROOT, OpsError
from ops.contract.compare import Asset, breaches
from ops.environment import own_environment
from ops.locations import DATA_LOCATIONS, LocationError
from ops.table import print_table


def check_settings() -> None:
    with ThreadPoolExecutor() as at_once:
        list(at_once.map(lambda location: _python(location, None, "-m", f"{location}.settings"), DATA_LOCATIONS))


def describe_workspace(env: Mapping[str, str] | None = None) -> list[Asset]:
    """Describes the assets of the locations with data; ``env`` None is the project's own environment."""
    with ThreadPoolExecutor() as at_once:
        described = at_once.map(lambda location: _describe(location, env), DATA_LOCATIONS)
        return [asset for assets in described for asset in assets]


def _describe(location: str, env: Mapping[str, str] | None) -> list[Asset]:
    script = str(ROOT / "ops/contract/describe.py")
    try:
        return list(json.loads(_python(location, env, script, location).splitlines()[-1]))
    except LocationError as error:
        raise LocationError(f"{location}: its definitions do not load.\n{error}") from None


def _python(location: str, env: Mapping[str, str] | None, *arguments: str) -> str:
    folder = ROOT / location
    command = [str(folder / ".venv/bin/python"), *arguments]
    ended = subprocess.run(command, cwd=folder, env=env or own_environment(), capture_output=True, text=True)
    if ended.returncode != 0:
        raise LocationError(ended.stderr.strip())
    return ended.stdout


def contract() -> None:
    """List the assets of the locations with data, and check the contract between these locations."""
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
