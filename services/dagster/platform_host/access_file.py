"""access.yaml: who may do what. Read by the webserver, and by the commands that change it (ops/access.py).

It does not import Dagster, which the operator's environment does not have.
"""

import enum
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError


class Role(enum.IntEnum):
    """What somebody may do: each role may do what the ones before it may."""

    VIEWER = 0
    LAUNCHER = 1
    EDITOR = 2
    ADMIN = 3


ROLES = tuple(role.name.lower() for role in Role)


class AccessError(ValueError):
    """The file cannot be used. The message has a line per problem, each with file and line."""


@dataclass(frozen=True)
class Identity:
    """Somebody who asks: the name, the role in all locations, and higher roles in some."""

    name: str
    everywhere: Role | None
    locations: Mapping[str, Role] = field(default_factory=dict)

    def role_in(self, location: str) -> Role | None:
        found = [role for role in (self.everywhere, self.locations.get(location)) if role is not None]
        return max(found, default=None)

    def may(self, role: Role, location: str | None = None) -> bool:
        """Whether somebody has a role, or a higher one, in a location; None asks for all locations."""
        has = self.everywhere if location is None else self.role_in(location)
        return has is not None and has >= role


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@+-]{1,128}$")]
Scope = Literal["all"] | Annotated[list[Name], Field(min_length=1)]


class Grants(BaseModel):
    """Roles, each for all locations or for some. Everybody sees all locations, so a viewer has no list."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    viewer: Literal["all"] | None = None
    launcher: Scope | None = None
    editor: Scope | None = None
    admin: Scope | None = None

    def scopes(self) -> Iterator[tuple[Role, Literal["all"] | list[str]]]:
        for role in Role:
            if scope := getattr(self, role.name.lower()):
                yield role, scope


class Token(Grants):
    """The roles of whoever has the token with this hash (hexadecimal SHA-256)."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class AccessFile(BaseModel):
    """The roles of users, of groups that the OpenID provider knows, and of service tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    users: dict[Name, Grants] = {}
    groups: dict[Annotated[str, StringConstraints(pattern=r"^[^\n]{1,128}$")], Grants] = {}
    tokens: dict[Name, Token] = {}

    def user(self, name: str, groups: Collection[str] = ()) -> Identity | None:
        """Who a user of this name and these groups is; None for somebody without any role."""
        grants = [self.users[name]] if name in self.users else []
        grants += [self.groups[group] for group in groups if group in self.groups]
        return _identity(name, grants) if grants else None

    def token(self, value: str) -> Identity | None:
        """Who has this token; None for one that is not in the file."""
        # The hash of a value that nobody can guess: how long the comparison takes says nothing about it.
        wanted = token_hash(value)
        for name, token in self.tokens.items():
            if token.sha256 == wanted:
                return _identity(f"token:{name}", [token])
        return None


def token_hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _identity(name: str, grants: Collection[Grants]) -> Identity:
    everywhere: Role | None = None
    locations: dict[str, Role] = {}
    for role, scope in sorted((each for one in grants for each in one.scopes()), key=lambda each: each[0]):
        if scope == "all":
            everywhere = role
        else:
            locations |= dict.fromkeys(scope, role)
    return Identity(name, everywhere, locations)


def read_access(path: Path, locations: Collection[str]) -> AccessFile:
    """Reads the file; ``locations`` are the names that it may use. Raises AccessError."""
    lines: dict[tuple[Any, ...], int] = {}
    try:
        node = yaml.compose(path.read_text(), yaml.SafeLoader)
        value = _plain(node, (), lines, path) if node else {}
        if isinstance(value, dict):
            value = {part: {} if members is None else members for part, members in value.items()}
        access = AccessFile.model_validate({} if value is None else value)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise AccessError(f"{path}, line {line}: {error.problem}. Correct the YAML.") from None
    except UnicodeDecodeError:
        raise AccessError(f"{path}, line 1: the file is not UTF-8.") from None
    except yaml.reader.ReaderError as error:
        line = path.read_text()[: error.position].count("\n") + 1
        raise AccessError(f"{path}, line {line}: YAML has no character {error.character:#x}. Remove it.") from None
    except RecursionError:
        raise AccessError(f"{path}, line 1: a part of the file contains itself, or far too many others.") from None
    except ValidationError as error:
        raise AccessError("\n".join(dict.fromkeys(_problems(error, lines, path)))) from None
    if wrong := [*_contradictions(access, locations, lines, path)]:
        raise AccessError("\n".join(wrong))
    return access


def _plain(node: yaml.Node, at: tuple[Any, ...], lines: dict[tuple[Any, ...], int], path: Path) -> Any:
    """The value of a node, with the line of each part; refuses a key that is there twice, of which YAML takes one."""
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        value: dict[str, Any] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name in value:
                what = " of ".join([repr(name), *map(str, reversed(at))])
                raise AccessError(f"{path}, line {line}: {what} is there twice. Leave one.")
            lines[*at, name] = line
            value[name] = _plain(child, (*at, name), lines, path)
        return value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*at, number), lines, path) for number, child in enumerate(node.value)]
    return None if node.tag == "tag:yaml.org,2002:null" else node.value


def _problems(error: ValidationError, lines: Mapping[tuple[Any, ...], int], path: Path) -> Iterator[str]:
    for problem in error.errors():
        place = problem["loc"]
        # What pydantic adds to the place, such as the type that it tried, is not in the file.
        at = next(place[:length] for length in range(len(place), -1, -1) if place[:length] in lines)
        what = " of ".join(repr(part) if number == 0 else str(part) for number, part in enumerate(reversed(at)))
        if problem["type"] == "extra_forbidden" and len(at) == 1:
            text = f"{what} is no part of this file. Its parts are users, groups and tokens."
        elif problem["type"] == "extra_forbidden":
            text = f"{what} is no role. The roles are {', '.join(ROLES)}."
        elif len(at) > 2 and at[2] == "viewer":
            text = f"{what} has a list. A viewer sees all locations: write viewer: all."
        elif len(at) > 2 and at[2] in ROLES:
            text = f"{what} is neither all nor a list of locations. Write all, or [dbt_location]."
        elif at[:1] == ("tokens",) and "sha256" in (*place, *at):
            text = f"{what} has no sha256 of 64 hexadecimal digits. Make one with: make token NAME=… ROLE=…"
        elif len(at) == 2 and problem["type"] == "string_pattern_mismatch":
            text = f"{what} is no name. Use letters, digits, '.', '@', '+', '_' and '-'."
        else:
            text = f"{what or 'the file'}: {problem['msg']}. Write a name with its roles, such as ana: {{viewer: all}}."
        yield f"{path}, line {lines[at]}: {text}"


def _contradictions(
    access: AccessFile, locations: Collection[str], lines: Mapping[tuple[Any, ...], int], path: Path
) -> Iterator[str]:
    for part in ("users", "groups", "tokens"):
        for name, grants in getattr(access, part).items():
            if not any(True for _ in grants.scopes()):
                yield f"{path}, line {lines[part, name]}: {name!r} has no role. The roles are {', '.join(ROLES)}."
            for role, scope in grants.scopes():
                at = (part, name, role.name.lower())
                for number, location in enumerate(scope if scope != "all" else ()):
                    if location not in locations:
                        yield (
                            f"{path}, line {lines[*at, number]}: {location!r} is no location. "
                            f"The locations are {', '.join(sorted(locations))}."
                        )
    owners: dict[str, str] = {}
    for name, token in access.tokens.items():
        if token.sha256 in owners:
            yield (
                f"{path}, line {lines['tokens', name]}: {name!r} has the hash of {owners[token.sha256]!r}. "
                "Make a token for each."
            )
        owners[token.sha256] = name
