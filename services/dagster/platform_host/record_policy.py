"""Records the run policy of a location: the work of the service ``<location>_policy``.

The location's settings are this process's environment without what the image sets itself. The other parts are options,
named like those of `docker run`. Earlier images stay in the policy, so that runs that are queued keep theirs.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from platform_host.run_policy import PolicyError, RunPolicy, explain, read_policy, write_policy

FOLDER = Path("/opt/dagster/run_policies")
WORKSPACE = Path("/opt/dagster/workspace.yaml")
# The image's own environment, as `env` printed it at the end of the build.
IMAGE_ENVIRONMENT = Path("/opt/dagster/image_environment")
# By convention.
CREDENTIALS = "credentials:/run/credentials:ro"
COMPUTE_LOGS = "compute_logs:/opt/dagster/compute_logs"
UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Writes the policy that the arguments ask for, or removes it; raises SystemExit with a message."""
    given = _parser().parse_args(arguments)
    try:
        known = locations(WORKSPACE)
        if given.location not in known:
            raise PolicyError(f"{given.location} is not a location of workspace.yaml, which has {', '.join(known)}.")
        if given.remove:
            (FOLDER / f"{given.location}.json").unlink(missing_ok=True)
        else:
            write_policy(FOLDER, policy(given, known, settings(environment)))
    except (PolicyError, OSError) as error:
        sys.exit(f"{given.location}_policy: {error}")


def policy(given: argparse.Namespace, known: Sequence[str], environment: Mapping[str, str]) -> RunPolicy:
    """The policy that the options ask for; raises PolicyError if it may not be."""
    own = (f"{given.location}_{volume}" for volume in (CREDENTIALS, COMPUTE_LOGS))
    volumes = {volume.split(":")[1]: volume for volume in own}
    for volume in given.volume:
        name, _, mount = volume.partition(":")
        # Of two locations one of which has a name that begins with the other's, the longer name tells the owner.
        owners = sorted((one for one in known if name.startswith(f"{one}_")), key=len)
        if owners and owners[-1] != given.location:
            raise PolicyError(f"--volume {volume}: this volume is one of {owners[-1]}.")
        volumes[mount.removesuffix(":ro")] = volume
    try:
        return RunPolicy(
            location=given.location,
            project=given.project,
            images=_images(given),
            environment=dict(environment),
            network=f"{given.project}_{given.location if given.network is None else given.network}",
            volumes=[f"{given.project}_{volume}" for volume in volumes.values()],
            memory=given.memory,
            # Docker refuses more than the machine has. More would be no limit.
            cpus=min(given.cpus, float(os.cpu_count() or 1)),
            pids=given.pids_limit,
        )
    except ValidationError as error:
        raise PolicyError(f"{explain(error)}. Correct the options in {given.location}/compose.yaml.") from None


def _images(given: argparse.Namespace) -> list[str]:
    try:
        before = read_policy(FOLDER, given.location, RunPolicy).images
    except PolicyError as error:
        if (FOLDER / f"{given.location}.json").exists():
            print(f"{error} It is written anew, so that runs which are queued with an earlier image will be refused.")
        before = []
    images = dict.fromkeys([given.image, *before])
    return [image for image in images if image == given.image or image not in given.without]


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings among the variables: what compose gave to this service."""
    own = {*IMAGE_ENVIRONMENT.read_text().splitlines()}
    return {name: value for name, value in environment.items() if name != "HOSTNAME" and f"{name}={value}" not in own}


def locations(workspace: Path) -> list[str]:
    """The names of all locations of a workspace.yaml."""
    entries = yaml.safe_load(workspace.read_text())["load_from"]
    return [server["location_name"] for entry in entries for server in entry.values()]


def size(text: str) -> int:
    """Reads a size as docker does: a number of bytes, or of the unit b, k, m or g that follows."""
    parts = re.fullmatch(r"(\d+)([bkmg]?)", text.lower())
    if parts is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size. Write a number and b, k, m or g, such as 2g.")
    return int(parts[1]) * UNITS[parts[2]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("location", help="name of the location, such as dbt_location")
    parser.add_argument("--project", required=True, help="compose's name of the project")
    parser.add_argument("--image", required=True, help="the image of the code server, which new runs use")
    parser.add_argument(
        "--network", help="the network of the runs, as compose.yaml calls it; default: the location's name"
    )
    parser.add_argument(
        "--volume",
        action="append",
        default=[],
        help="NAME:FOLDER or NAME:FOLDER:ro, a volume of the location as compose.yaml calls it. The location's "
        "credentials and the compute logs are mounted in any case",
    )
    parser.add_argument("--memory", type=size, required=True, help="the most memory of a run (RUN_MEMORY_LIMIT)")
    parser.add_argument("--cpus", type=float, required=True, help="the most CPUs of a run (RUN_CPUS_LIMIT)")
    parser.add_argument("--pids-limit", type=int, required=True, help="the most processes of a run (RUN_PIDS_LIMIT)")
    parser.add_argument("--without", action="append", default=[], help="an earlier image that was removed")
    parser.add_argument("--remove", action="store_true", help="remove the policy: the location leaves the stack")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
