"""The run policy of a location: all that the container of one of its runs gets.

A policy is a file, ``<location>.json`` in the folder run_policies, from which the launcher makes a run. On compose the
folder is a volume that the location's one-shot service writes to (record_policy.py). In Kubernetes the location's
release has the policy in a ConfigMap (kubernetes_policy.py), which is copied to the folder (kubernetes_locations.py).
No container that runs code of a location mounts the folder.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

LOCATION = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*_location$"


class PolicyError(RuntimeError):
    """A location has no policy, or one that cannot be used; the message names the file and the next step."""


class LocationPolicy(BaseModel):
    """What the platform knows of a location's runs on every engine.

    Attributes:
        images: those that were deployed and are kept, newest first, each ``<location>:<tag>``.
        environment: the location's settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    # What may be before the name of an image, and what writes the policy of {location}.
    registry: ClassVar[str] = ""
    written_by: ClassVar[str] = "`make up` or `make deploy LOCATION={location}` writes it"

    location: Annotated[str, StringConstraints(pattern=LOCATION)]
    images: Annotated[list[str], Field(min_length=1)]
    environment: dict[str, str]

    @model_validator(mode="after")
    def _has_only_own_images(self) -> Self:
        for image in self.images:
            if not re.fullmatch(rf"{self.registry}{self.location}:\w[\w.-]{{0,127}}", image, re.ASCII):
                raise ValueError(f"the image {image!r} is not {self.location} with a tag")
        return self


class RunPolicy(LocationPolicy):
    """What the platform knows of a location's runs on compose.

    Attributes:
        network: the one network of a run.
        volumes: each ``<volume>:<folder>``, read-only with ``:ro`` at its end.
        memory: in bytes; Docker demands 6 MB.
        cpus: a number of CPUs; Docker demands 0.01.
        pids: the most processes and threads at a time.
    """

    project: Annotated[str, StringConstraints(min_length=1)]
    network: str
    volumes: list[str]
    memory: Annotated[int, Field(ge=6 * 2**20)]
    cpus: Annotated[float, Field(ge=0.01, allow_inf_nan=False)]
    pids: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _has_only_own_network_and_volumes(self) -> Self:
        if not re.fullmatch(rf"{re.escape(self.project)}_\w[\w.-]*", self.network, re.ASCII):
            raise ValueError(f"the network {self.network!r} is not one of the project {self.project}")
        for volume in self.volumes:
            if reason := self._refused(volume):
                raise ValueError(f"the volume {volume!r} {reason}")
        return self

    def _refused(self, volume: str) -> str:
        """Why a volume may not be mounted; empty if it may."""
        parts = re.fullmatch(rf"{re.escape(self.project)}_(\w[\w.-]*):(/[^:]+)(:ro)?", volume, re.ASCII)
        if parts is None or posixpath.normpath(parts[2]) != parts[2]:
            return "is not the name of a volume of this project, a colon and a folder's path (and :ro)"
        if not parts[1].startswith(f"{self.location}_"):
            return f"is not one of {self.location}: their names begin with {self.project}_{self.location}_"
        return ""


Policy = TypeVar("Policy", bound=LocationPolicy)


def read_policy(folder: Path, location: str, kind: type[Policy]) -> Policy:
    """Reads the policy of a location, which is of this kind; raises PolicyError if there is none to be used."""
    if not re.fullmatch(LOCATION, location):
        raise PolicyError(f"{location!r} is not a location's name, so nothing is launched for it.")
    path = folder / f"{location}.json"
    again = kind.written_by.format(location=location)
    try:
        policy = kind.model_validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        raise PolicyError(
            f"There is no run policy {path}, so no run of {location} is launched. {again}. If the location was "
            "removed, its runs cannot be launched any more."
        ) from None
    except OSError as error:
        raise PolicyError(
            f"The run policy {path} cannot be read: {error.strerror}. No run of {location} is launched. {again} again."
        ) from None
    except ValidationError as error:
        raise PolicyError(
            f"The run policy {path} is wrong: {explain(error)}. No run of {location} is launched. {again} again."
        ) from None
    if policy.location != location:
        raise PolicyError(f"The run policy {path} is that of {policy.location}. {again} again.")
    return policy


def resource_name(location: str) -> str:
    """What the resources of a location are called in Kubernetes, where names have no underscores."""
    return location.replace("_", "-")


def write_policy(folder: Path, policy: LocationPolicy) -> None:
    """Writes a policy. A reader sees the file as it was or as it is then, never a part of it."""
    new = folder / f".{policy.location}.{os.getpid()}"
    new.write_text(policy.model_dump_json(indent=2))
    new.rename(folder / f"{policy.location}.json")


def explain(error: ValidationError) -> str:
    """Says in one line what is wrong with a policy, by field."""
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, "))))
        for one in error.errors(include_url=False)
    )
