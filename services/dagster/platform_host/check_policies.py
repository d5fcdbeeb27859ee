"""The locations that have a run policy, each with what is wrong with it; for `make status`, to which it prints JSON."""

import json
from pathlib import Path

from platform_host.run_policy import PolicyError, RunPolicy, read_policy

FOLDER = Path("/opt/dagster/run_policies")


def policies() -> dict[str, str]:
    """The locations that have a run policy, each with why it cannot be used, or nothing."""
    found: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.json")):
        try:
            read_policy(FOLDER, path.stem, RunPolicy)
            found[path.stem] = ""
        except PolicyError as error:
            found[path.stem] = str(error)
    return found


if __name__ == "__main__":
    print(json.dumps(policies()))
