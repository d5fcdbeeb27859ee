"""The commands behind `make deploy`, `make rollback`, `make deployments` and `make up`."""

import argparse
import sys

from ops.command import CommandError, inspect
from ops.deploy.deploy import DeployError, Interrupted, deploy, rollback
from ops.deploy.env_file import set_variable
from ops.deploy.history import Record, attempts, good
from ops.deploy.ledger import LockedError, read_all
from ops.deploy.location import LocationError, compose_config, env_file, location_names, tag_variable
from ops.deploy.tags import TagError
from ops.deploy.trial import SettingError
from ops.deploy.webserver import WebserverError


def main() -> None:
    """Runs one command."""
    parser = argparse.ArgumentParser(prog="python -m ops.deploy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("deploy", "rollback"):
        command = commands.add_parser(name)
        command.add_argument("location")
        command.add_argument("--force", action="store_true", help="although the contract breaks")
        if name == "deploy":
            command.add_argument("--tag", default="", help="of an image that is there; without it one is built")
    listing = commands.add_parser("list")
    listing.add_argument("location", nargs="?", default="")
    commands.add_parser("pin", help="write the deployed tags into .env; print the services that have none")
    given = parser.parse_args()
    try:
        if given.command == "deploy":
            deploy(given.location, given.tag, given.force)
        elif given.command == "rollback":
            rollback(given.location, given.force)
        elif given.command == "list":
            print(table([record for record in _records() if given.location in ("", record.location)]))
        else:
            print(" ".join(pin()))
    except (CommandError, DeployError, LocationError, LockedError, SettingError, TagError, WebserverError) as error:
        sys.exit(str(error))
    except (Interrupted, KeyboardInterrupt) as error:
        # Before anything was touched, or after all was done; in between, it is answered.
        sys.exit(str(error) or "interrupted")


def _records() -> list[Record]:
    config = compose_config({})
    return read_all(config["name"], config["services"]["webserver"]["image"])


def table(records: list[Record]) -> str:
    """The history as lines, per location, the newest last; ``*`` is at what is in use."""
    rows: list[tuple[str, ...]] = [("  location", "tag", "at", "by", "action", "result", "")]
    for location in sorted({record.location for record in records}):
        own = [record for record in records if record.location == location]
        tried = attempts(own)
        in_use = next((r.attempt for r in reversed(tried) if r.result == "deployed" and r.version == good(own)[-1]), "")
        for record in tried:
            result = "interrupted" if record.result == "replacing" else record.result
            what = f"{'*' if record.attempt == in_use else ' '} {location}"
            reason = record.reason.replace("\n", " ")
            rows.append((what, record.version.tag, record.at, record.by, record.action, result, reason))
    if not records:
        return "Nothing was deployed by `make deploy` yet."
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def pin() -> list[str]:
    """Makes compose use the versions that are deployed, in this clone too.

    Returns:
        The services whose image is built from this clone's folders: all others that have a build.
    """
    records = _records()
    pinned = set()
    for name in location_names():
        versions = good([record for record in records if record.location == name])
        if versions:
            image = f"{name}:{versions[-1].tag}"
            if inspect("image", image) is None:
                # Compose would build whatever is in this clone under its name.
                raise DeployError(
                    f"{image} is deployed and not there any more. Deploy {name} anew, then start the rest."
                )
            set_variable(env_file(), tag_variable(name), versions[-1].tag)
            pinned.add(name)
    return [
        name for name, service in compose_config({})["services"].items() if "build" in service and name not in pinned
    ]


if __name__ == "__main__":
    main()
