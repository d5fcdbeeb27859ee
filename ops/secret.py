"""A location's own secrets: files of a volume that its code server, its runs and the backups read.

A value comes from stdin or a prompt and goes to a container's stdin: it is in no argument, environment or log.
"""

import re
import sys
from getpass import getpass
from typing import Annotated

from typer import Argument

from ops import compose
from ops.command import OpsError, inspect, log, run
from ops.compose import USER
from ops.locations import LocationArgument, check_exists
from ops.table import print_table

SecretArgument = Annotated[str, Argument(metavar="NAME", help="Name of the secret, such as weather_api_key.")]
MOST_BYTES = 65_536
_FOLDER = "/run/secrets"
# Renamed, so that a reader sees the old value or the new one. The pipe is read first: a broken one writes nothing.
_WRITE = f"""
set -e; umask 077
cat > {_FOLDER}/.new
test -s {_FOLDER}/.new
chown {USER}:{USER} {_FOLDER} {_FOLDER}/.new; chmod 0700 {_FOLDER}
mv {_FOLDER}/.new "{_FOLDER}/$1"
"""
_LIST = f"cd {_FOLDER} && find . -maxdepth 1 -type f -name '[a-z]*' -printf '%f|%TY-%Tm-%Td %TH:%TM\\n' | sort"


def secret(location: LocationArgument, name: SecretArgument) -> None:
    """Store a secret of a location: its value is read from stdin, or asked for without being shown."""
    volume, image = _checked(location, name)
    value = getpass(f"{name}: ").encode() if sys.stdin.isatty() else sys.stdin.buffer.read(MOST_BYTES + 1)
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value.strip():
        raise OpsError(f"NAME={name}: no value was given. Type it, or pipe it in: make secret … < file")
    if len(value) > MOST_BYTES:
        raise OpsError(f"NAME={name}: the value has more than {MOST_BYTES:,} bytes. Nothing was stored.")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise OpsError(f"NAME={name}: the value is not UTF-8. Encode it, for example with base64.") from None
    _in_volume(volume, image, _WRITE, name, stdin=text)
    log(f"{location}: {name} is stored. Runs that start from now on read it.")


def secrets(location: LocationArgument) -> None:
    """List the names of a location's secrets, and when each was stored."""
    print_table(["secret", "stored (UTC)"], _list(*_checked(location)))


def remove_secret(location: LocationArgument, name: SecretArgument) -> None:
    """Remove a secret of a location."""
    volume, image = _checked(location, name)
    there = [known for known, _ in _list(volume, image)]
    if name not in there:
        raise OpsError(f"NAME={name} is no secret of {location}. Its secrets are: {', '.join(there) or 'none'}.")
    _in_volume(volume, image, f'rm "{_FOLDER}/$1"', name)
    log(f"{location}: {name} is removed.")


def _checked(location: str, name: str = "any") -> tuple[str, str]:
    """The volume of a location's secrets, and the image that helper containers use."""
    check_exists("LOCATION", location)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise OpsError(
            f"NAME={name!r} is not a secret's name. Use lower case letters, digits and '_', a letter first, at most 63."
        )
    config = compose.config()
    volume, image = f"{config['name']}_{location}_secrets", str(config["services"]["webserver"]["image"])
    for kind, one in (("volume", volume), ("image", image)):
        if inspect(kind, one) is None:
            raise OpsError(f"There is no {kind} {one} yet. Start the stack first: make up.")
    return volume, image


def _list(volume: str, image: str) -> list[list[str]]:
    return [line.split("|") for line in _in_volume(volume, image, _LIST).splitlines()]


def _in_volume(volume: str, image: str, script: str, *arguments: str, stdin: str = "") -> str:
    start = ("docker", "run", "--rm", "--interactive", "--network", "none", "--user", "0")
    mounted = ("--volume", f"{volume}:{_FOLDER}", "--entrypoint", "sh", image)
    return run(*start, *mounted, "-c", script, "sh", *arguments, stdin=stdin)
