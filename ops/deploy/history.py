"""What is deployed: the list that people read, and the tags that `make up` starts."""

from collections.abc import Sequence
from typing import Annotated

from typer import Argument

from ops import compose
from ops.command import OpsError, inspect
from ops.deploy.engine import Engine, On
from ops.deploy.ledger import read_all
from ops.deploy.records import DEPLOYED, REPLACING, Record, attempts, good
from ops.env_file import env_file, set_variable
from ops.kubernetes import ledger as in_kubernetes
from ops.locations import LOCATIONS, tag_variable
from ops.table import print_table


def deployments(
    location: Annotated[str | None, Argument(metavar="LOCATION", help="Only this location.")] = None,
    on: On = Engine.COMPOSE,
) -> None:
    """List what was deployed when, by whom, and with what result."""
    found = in_kubernetes.read_all() if on is Engine.KUBERNETES else _records()
    print_records([record for record in found if location in (None, record.location)])


def print_records(records: Sequence[Record]) -> None:
    """Prints attempts per location, newest last; ``*`` marks the version in use."""
    rows = []
    for location in sorted({record.location for record in records}):
        own = attempts(record for record in records if record.location == location)
        current = good(own)[-1:]
        in_use = next((r.attempt for r in reversed(own) if r.result == DEPLOYED and [r.version] == current), "")
        for record in own:
            name = f"{'*' if record.attempt == in_use else ' '} {location}"
            result = "interrupted" if record.result == REPLACING else record.result
            reason = record.reason.replace("\n", " ")
            rows.append((name, record.version.tag, record.at, record.by, record.action, result, reason))
    if rows:
        print_table(("  location", "tag", "at", "by", "action", "result", "reason"), rows)
    else:
        print("Nothing was deployed by `make deploy` yet.")


def pin() -> None:
    """Write the deployed tags into the env file, and print the services that compose must build."""
    records = _records()
    pinned = set()
    for name in LOCATIONS:
        if versions := good(record for record in records if record.location == name):
            image = f"{name}:{versions[-1].tag}"
            if inspect("image", image) is None:
                # Compose would build the content of this clone under the deployed tag.
                missing = f"{image} is deployed, and its image is missing."
                raise OpsError(f"{missing} Deploy {name} again, then start the rest.")
            set_variable(env_file(), tag_variable(name), versions[-1].tag)
            pinned.add(name)
    services = compose.config()["services"].items()
    print(*(name for name, service in services if "build" in service and name not in pinned))


def _records() -> list[Record]:
    config = compose.config()
    return read_all(config["name"], config["services"]["webserver"]["image"])
