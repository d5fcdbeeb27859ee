"""The code locations of this repository. A location's folder, package, compose service and image share one name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument

from ops import compose
from ops.command import ROOT, OpsError

# Arguments of the commands.
LocationArgument = Annotated[str, Argument(metavar="LOCATION", help="Name of the location, such as dbt_location.")]
NameArgument = Annotated[str, Argument(metavar="NAME", help="Name of the location, such as weather_location.")]


class LocationError(OpsError):
    """A location does not exist, is not set up as it must be, or cannot be changed as asked for."""


def find_locations(root: Path = ROOT) -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in root.glob("*_location/pyproject.toml")))


LOCATIONS = find_locations()
# Those with tables: each has a role in the warehouse, and runs without Docker too.
DATA_LOCATIONS = tuple(name for name in LOCATIONS if (ROOT / name / "warehouse.sql").exists())


def check_exists(argument: str, name: str, root: Path = ROOT) -> None:
    """Checks that there is a location of this name; ``argument`` is what the name was given as, LOCATION or NAME."""
    if name not in (names := find_locations(root)):
        raise LocationError(f"{argument}={name!r} is not a location. The locations are: {', '.join(names)}.")


def policy_service(name: str) -> str:
    """The one-shot service that records what a run of a location gets (services/policy.yaml)."""
    return f"{name}_policy"


def tag_variable(name: str) -> str:
    """The variable that sets the image tag in a location's compose.yaml, such as DBT_LOCATION_TAG."""
    return f"{name.upper()}_TAG"


@dataclass(frozen=True)
class Location:
    """A location at one version of its image."""

    name: str
    project: str  # of compose
    image: str  # of its code server, with the tag
    environment: Mapping[str, str]  # of its code server
    policy: tuple[str, ...]  # the command of the service that records what its runs get
    toolbox: str  # the platform's image, which exists before that of any location; helper containers run on it

    @property
    def tests_image(self) -> str:
        return f"{self.image}-test"

    @property
    def tag(self) -> str:
        return self.image.rpartition(":")[2]

    @property
    def tag_setting(self) -> dict[str, str]:
        return {tag_variable(self.name): self.tag}


def read_location(name: str, tag: str) -> Location:
    """Reads from the compose files what compose would run for a location at this tag."""
    check_exists("LOCATION", name)
    if not re.fullmatch(r"\w[\w.-]{0,120}", tag, re.ASCII):
        raise LocationError(f"TAG={tag!r} is not an image tag. Use letters, digits, '.', '_' and '-'.")
    config = compose.config({tag_variable(name): tag})
    service = config["services"].get(name)
    if service is None:
        raise LocationError(f"{name}/compose.yaml has no service {name}, or docker-compose.yml does not include it.")
    recorder = config["services"].get(policy_service(name))
    if recorder is None:
        raise LocationError(
            f"{name}/compose.yaml has no service {policy_service(name)}, so no run of it could be launched. Copy that "
            "of another location."
        )
    environment = {key: value for key, value in service.get("environment", {}).items() if value is not None}
    policy = tuple(recorder.get("command") or ())
    wanted = f"{name}:{tag}"
    used = {"image": service.get("image"), "DAGSTER_CURRENT_IMAGE": environment.get("DAGSTER_CURRENT_IMAGE")}
    options = [part.removeprefix("--image=") for part in policy if part.startswith("--image=")]
    used[f"--image of {policy_service(name)}"] = options[0] if options else None
    for where, found in used.items():
        if found != wanted:
            right = f"{name}:${{{tag_variable(name)}:-local}}"
            raise LocationError(f"{name}/compose.yaml: {where} is {found}, and must be {wanted}. Write {right}.")
    return Location(name, config["name"], wanted, environment, policy, config["services"]["webserver"]["image"])
