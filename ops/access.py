"""Who may use the stack and what they may do: users, service tokens and roles (docs/access.md).

Roles and the hashes of tokens are in access.yaml, the hashes of passwords in users.htpasswd, both in the folder that
webserver and door mount. The webserver reads the same file by the same module.
"""

import re
import secrets
import sys
from collections.abc import Callable, Iterator
from getpass import getpass
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

import bcrypt
import typer
from platform_host.access_file import ROLES, AccessError, AccessFile, Grants, read_access, token_hash
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from typer import Argument, Option

from ops import compose
from ops.command import OpsError, inspect, log
from ops.env_file import locked
from ops.graphql import webserver
from ops.locations import find_locations
from ops.table import print_table

UserArgument = Annotated[str, Argument(metavar="NAME", help="Name of the user, such as ana or ana@example.com.")]
TokenArgument = Annotated[str, Argument(metavar="NAME", help="Name of the token, such as ci.")]
RoleOption = Annotated[
    Literal["viewer", "launcher", "editor", "admin"], Option(help="What they may do; `roles` explains each.")
]
LocationOption = Annotated[
    list[str] | None, Option("--location", metavar="LOCATION", help="Only there; may be repeated.")
]
# bcrypt reads no more bytes of a password.
SHORTEST, MOST_BYTES = 12, 72
MEANING = {
    "viewer": "sees everything, changes nothing",
    "launcher": "launches, terminates and re-executes runs and backfills",
    "editor": "also starts and stops schedules and sensors, sets cursors, deletes runs, wipes assets, reports events, "
    "edits dynamic partitions, reloads locations",
    "admin": "also shuts down a code server; for all locations: also pools, automation and all else of the instance",
}
HEAD = "# Who may do what: docs/access.md. It counts at the next request, without a restart.\n"

users = typer.Typer(help="Add, list and remove users, and set passwords.", no_args_is_help=True)
tokens = typer.Typer(help="Add, list and remove service tokens, for scripts and CI.", no_args_is_help=True)


def _folder() -> Path:
    """The folder of the volume `access`: that of the stack's first start, or that of the settings before."""
    volume = compose.config()["volumes"]["access"]
    wanted = volume["driver_opts"]["device"]
    there = inspect("volume", volume["name"])
    folder = Path(there["Options"]["device"] if there else wanted)
    if not folder.is_dir():
        has = f"The stack has its users and roles in {folder}" if there else f"ACCESS_DIR names {folder}"
        raise OpsError(f"{has}, and this machine has no such folder. Run this on the stack's machine, or create it.")
    if str(folder) != wanted:
        log(f"The stack has its users and roles in {folder}, not in {wanted}: docs/access.md, ACCESS_DIR.")
    return folder


@users.command("add")
def add_user(
    name: UserArgument,
    role: RoleOption,
    location: LocationOption = None,
    password: Annotated[bool, Option(help="--no-password: for one who logs in at an OpenID provider.")] = True,
) -> None:
    """Give a user a role, for all locations or for some. A new one gets a password, asked for without being shown."""
    _check_name(name)
    folder = _folder()
    first = not (folder / "access.yaml").exists()
    # Before the password is asked for.
    _change(folder, lambda access: _grant(access, "users", name, role, location), dry_run=True)
    if password and name not in _passwords(folder):
        _set_password(folder, name)
    _change(folder, lambda access: _grant(access, "users", name, role, location))
    log(f"{name}: {role} {_where(location)}. It counts from now on.")
    if first:
        log("From now on everybody must log in. Start the stack again, so that the door asks for it: make up")


@users.command("password")
def set_password(name: UserArgument) -> None:
    """Set a user's password, which is read from stdin or asked for without being shown."""
    folder = _folder()
    if name not in _read(folder).users:
        raise OpsError(f"NAME={name!r} is no user. Add it first: make user NAME={name} ROLE=viewer")
    _set_password(folder, name)
    log(f"{name}: the password is set.")


@users.command("remove")
def remove_user(name: UserArgument) -> None:
    """Remove a user with the password. What the user has open is refused from now on."""
    folder = _folder()
    stored = _passwords(folder)
    if name not in _read(folder).users and name not in stored:
        raise OpsError(f"NAME={name!r} is no user. The users are: {', '.join(_read(folder).users) or 'none'}.")
    _change(folder, lambda access: access.get("users", {}).pop(name, None))
    _write_passwords(folder, lambda lines: lines.pop(name, None))
    log(f"{name} is removed.")


@users.command("list")
def list_users() -> None:
    """List the users and the OpenID provider's groups, with their roles."""
    folder = _folder()
    access, stored = _read(folder), _passwords(folder)
    rows = [[name, "yes" if name in stored else "no", _roles(one)] for name, one in access.users.items()]
    rows += [[f"group {name}", "", _roles(one)] for name, one in access.groups.items()]
    rows += [[name, "yes", "none: refused"] for name in stored if name not in access.users]
    print_table(["user", "password", "roles"], rows)


@tokens.command("add")
def add_token(name: TokenArgument, role: RoleOption, location: LocationOption = None) -> None:
    """Make a service token with a role. It is printed once, and only its hash is stored."""
    _check_name(name)
    folder = _folder()
    if name in _read(folder).tokens:
        raise OpsError(f"NAME={name!r} is a token already. Remove it first, and who uses it is refused from then on.")
    value = f"taxi_{secrets.token_urlsafe(32)}"

    def add(access: Any) -> None:
        _grant(access, "tokens", name, role, location)
        access["tokens"][name]["sha256"] = token_hash(value)

    _change(folder, add)
    log(f"{name}: {role} {_where(location)}. This is the token; it is not shown again:")
    print(value)


@tokens.command("remove")
def remove_token(name: TokenArgument) -> None:
    """Remove a service token: it is refused at the next request."""
    folder = _folder()
    if name not in (there := _read(folder).tokens):
        raise OpsError(f"NAME={name!r} is no token. The tokens are: {', '.join(there) or 'none'}.")
    _change(folder, lambda access: access["tokens"].pop(name))
    log(f"{name} is removed.")


@tokens.command("list")
def list_tokens() -> None:
    """List the service tokens with their roles."""
    print_table(["token", "roles"], [[name, _roles(one)] for name, one in _read(_folder()).tokens.items()])


def roles() -> None:
    """List the roles, and who has each."""
    access = _read(_folder())
    everybody = [*access.users.items(), *((f"group {name}", one) for name, one in access.groups.items())]
    everybody += [(f"token {name}", one) for name, one in access.tokens.items()]

    def holders(role: str) -> Iterator[str]:
        for name, one in everybody:
            if scope := getattr(one, role):
                yield name if scope == "all" else f"{name} ({', '.join(scope)})"

    print_table(["role", "may", "who"], [[role, MEANING[role], ", ".join(holders(role))] for role in ROLES])


def whoami() -> None:
    """Print who this machine's commands are to the webserver, and what they may do there."""
    found = webserver().get("/whoami")
    print(f"{found['name'] or 'everybody (there is no login)'}: {found['roles'] or 'no role'}")


def forget_location(name: str) -> None:
    """Takes a location out of all roles, before it is removed; whoever has no other role is removed, too."""
    folder = _folder()
    if not (folder / "access.yaml").exists():
        return

    def forget(access: Any) -> None:
        for part in ("users", "groups", "tokens"):
            for member, grants in list((access.get(part) or {}).items()):
                for role in ROLES:
                    if isinstance(scope := grants.get(role), list) and name in scope:
                        scope.remove(name)
                        if not scope:
                            del grants[role]
                if not set(ROLES) & set(grants):
                    del access[part][member]
                    log(f"removed: {member} of {part} in access.yaml, who had no role elsewhere")

    _change(folder, forget)


# --- the files --------------------------------------------------------------------------------------------------------


def _read(folder: Path) -> AccessFile:
    try:
        return read_access(folder / "access.yaml", find_locations())
    except FileNotFoundError:
        return AccessFile()
    except AccessError as error:
        raise OpsError(str(error)) from None


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._@-]{1,64}", name, re.ASCII):
        raise OpsError(f"NAME={name!r} is no name. Use letters, digits, '.', '_', '@' and '-', at most 64.")


def _grant(access: Any, part: str, name: str, role: str, location: list[str] | None) -> None:
    if access.get(part) is None:
        access[part] = {}
    grants = access[part].setdefault(name, {})
    if location:
        has = grants.get(role)
        new = [] if has in (None, "all") else list(has)
        grants[role] = new + [each for each in location if each not in new]
    else:
        grants[role] = "all"


def _change(folder: Path, change: Callable[[Any], Any], dry_run: bool = False) -> None:
    """Changes access.yaml, whose comments stay, if it is right afterwards."""
    path = folder / "access.yaml"
    yaml = YAML()
    yaml.preserve_quotes = True
    with locked(folder):
        try:
            access = yaml.load(path.read_text() if path.exists() else HEAD + "users: {}\n")
            access = {} if access is None else access
            change(access)
        except (YAMLError, TypeError, AttributeError) as error:
            raise OpsError(f"{path} cannot be changed: {error}. Nothing was changed; correct it by hand.") from None
        written = StringIO()
        yaml.dump(access, written)
        new = path.with_name("access.yaml.new")
        _write(new, written.getvalue())
        try:
            read_access(new, find_locations())
            if not dry_run:
                new.replace(path)
        except AccessError as error:
            raise OpsError(f"{str(error).replace(str(new), str(path))}\nNothing was changed.") from None
        finally:
            new.unlink(missing_ok=True)


def _passwords(folder: Path) -> dict[str, str]:
    path = folder / "users.htpasswd"
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _set_password(folder: Path, name: str) -> None:
    if sys.stdin.isatty():
        value = getpass(f"Password of {name}: ")
        if getpass("Again: ") != value:
            raise OpsError("The two differ. Nothing was stored.")
    else:
        value = sys.stdin.readline().rstrip("\r\n")
    if len(value) < SHORTEST or len(value.encode()) > MOST_BYTES:
        raise OpsError(
            f"A password has at least {SHORTEST} characters and at most {MOST_BYTES} bytes. Nothing was stored."
        )
    # The same algorithm under the name that Apache knows.
    hashed = bcrypt.hashpw(value.encode(), bcrypt.gensalt()).decode().replace("$2b$", "$2y$", 1)
    _write_passwords(folder, lambda lines: lines.update({name: hashed}))


def _write_passwords(folder: Path, change: Callable[[dict[str, str]], object]) -> None:
    path = folder / "users.htpasswd"
    with locked(folder):
        lines = _passwords(folder)
        change(lines)
        new = path.with_name("users.htpasswd.new")
        _write(new, "".join(f"{name}:{hashed}\n" for name, hashed in lines.items()))
        new.replace(path)


def _write(path: Path, text: str) -> None:
    """Writes a file that the containers' user can read, and is renamed afterwards: a reader sees the old or the new."""
    path.write_text(text)
    path.chmod(0o644)


def _where(location: list[str] | None) -> str:
    return f"in {', '.join(location)}" if location else "for all locations"


def _roles(grants: Grants) -> str:
    each = [(role.name.lower(), scope) for role, scope in grants.scopes()]
    return ", ".join(name if scope == "all" else f"{name} of {', '.join(scope)}" for name, scope in each)
