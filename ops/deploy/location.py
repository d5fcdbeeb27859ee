"""A location as its compose.yaml has it: what its code server is called, runs on and is told."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.command import ROOT, run

# The port of every code server, as in workspace.yaml.
PORT = 4000


class LocationError(RuntimeError):
    """There is no such location, or its compose.yaml cannot be deployed; the message says what to write."""


@dataclass(frozen=True)
class Location:
    """One location, whose name its folder, its service, its package and its images share.

    Attributes:
        name: its name.
        project: name of the compose project.
        image: image of its code server, with the tag.
        environment: what its code server is told, and so what a trial of its image is told.
        toolbox: the platform's image, which is there before any location's; helpers run on it.
    """

    name: str
    project: str
    image: str
    environment: Mapping[str, str]
    toolbox: str

    @property
    def tests_image(self) -> str:
        """Image of the stage ``test``, which runs the location's own tests on what the image is made of."""
        return f"{self.image}-test"

    @property
    def tag(self) -> str:
        """The tag of its image."""
        return self.image.rpartition(":")[2]

    @property
    def tag_setting(self) -> dict[str, str]:
        """The variable that makes compose use this image."""
        return {tag_variable(self.name): self.tag}


def tag_variable(name: str) -> str:
    """The variable that a location's compose.yaml reads its tag from: DBT_LOCATION_TAG."""
    return f"{name.upper()}_TAG"


def location_names() -> list[str]:
    """Every location: a folder with a compose.yaml and a Dockerfile."""
    return sorted(path.parent.name for path in ROOT.glob("*/compose.yaml") if (path.parent / "Dockerfile").exists())


def read_location(name: str, tag: str) -> Location:
    """Reads what compose would do with a location at this tag.

    Raises:
        LocationError: there is no such location, or compose would not use the tag.
        CommandError: compose cannot read its files.
    """
    if name not in location_names():
        raise LocationError(f"LOCATION={name!r} is no location. There are: {', '.join(location_names())}.")
    if not re.fullmatch(r"\w[\w.-]{0,120}", tag, re.ASCII):
        raise LocationError(f"TAG={tag!r} is no tag of an image. Use letters, digits, '.', '_' and '-'.")
    config = compose_config({tag_variable(name): tag})
    service = config["services"].get(name)
    if service is None:
        raise LocationError(f"{name}/compose.yaml has no service {name}, or docker-compose.yml does not include it.")
    environment = {key: value for key, value in service.get("environment", {}).items() if value is not None}
    wanted = f"{name}:{tag}"
    for where, found in (("image", service.get("image")), ("DAGSTER_CURRENT_IMAGE", environment.get(CURRENT_IMAGE))):
        if found != wanted:
            raise LocationError(
                f"{name}/compose.yaml: {where} is {found} where {wanted} is wanted. "
                f"Write {name}:${{{tag_variable(name)}:-local}}."
            )
    return Location(name, config["name"], wanted, environment, config["services"]["webserver"]["image"])


CURRENT_IMAGE = "DAGSTER_CURRENT_IMAGE"


def compose_config(env: Mapping[str, str]) -> dict[str, Any]:
    """The compose project, resolved.

    Raises:
        CommandError: compose cannot read its files.
    """
    config: dict[str, Any] = json.loads(run("docker", "compose", "config", "--format", "json", env=env))
    return config


def env_file() -> Path:
    """The file that compose takes settings from which the environment lacks: the last one given to it, or .env."""
    given = os.environ.get("COMPOSE_ENV_FILES", "").split(",")[-1].strip()
    return ROOT / (given or ".env")
