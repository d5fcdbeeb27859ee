"""A location in the repository: its own files, and a few lines in the files that all locations share."""

import re
from pathlib import Path

from ops.command import ROOT
from ops.locations import LocationError, check_exists

# Docker and Postgres truncate longer names (63 bytes) once `_credentials` or the name of the project is added.
MAX_NAME = 40
# Names that Postgres does not accept for a schema: its keywords of the categories R and T (pg_get_keywords()).
_RESERVED = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
concurrently constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze from
full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit localtime
localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references returning
right select session_user similar some symmetric system_user table tablesample then to trailing true union unique user
using variadic verbose when where window with public information_schema
"""
# Marks the pyproject.toml of a location that the template made.
MADE_HERE = '[tool.location]\ntemplate = "ops/template"\n'


# The lines of a location in the files that all locations share. Everything else finds a location by its folder.
_SHARED_LINES = (
    ("docker-compose.yml", "  - {name}/compose.yaml\n"),
    ("docker-compose.yml", "      - {name}_secrets:/volumes/{name}_secrets:ro\n"),
    ("docker-compose.yml", "      - {name}_credentials:/credentials/{name}\n"),
    ("docker-compose.yml", "      {name}:\n        condition: service_healthy\n        required: false\n"),
    ("workspace.yaml", "  - grpc_server:\n      host: {name}\n      port: 4000\n      location_name: {name}\n"),
    ("dg.toml", '\n[[workspace.projects]]\npath = "{name}"\n'),
    (".github/CODEOWNERS", "/{name}/ @{team}\n"),
    (".github/workflows/audit.yml", "            {name}/requirements.lock\n"),
)


def schema_of(name: str) -> str:
    """The schema that a location owns, and the prefix of its assets: weather for weather_location."""
    return name.removesuffix("_location")


def own_paths(name: str) -> list[str]:
    return [name, f".github/workflows/{name}.yml"]


def check_new(name: str, root: Path = ROOT) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*_location", name):
        raise LocationError(
            f"NAME={name!r} is not a location's name. Write lower case words with '_' between them, the last one "
            "`location`: make new-location NAME=weather_location"
        )
    if len(name) > MAX_NAME:
        raise LocationError(f"NAME={name} has {len(name)} letters. Docker and Postgres cut long names; {MAX_NAME} fit.")
    schema = schema_of(name)
    if taken := [path for path in own_paths(name) if (root / path).exists()]:
        raise LocationError(f"{name} exists already: {', '.join(taken)}. Choose another name.")
    owned = {
        owned: f"{path.parent.name}/{path.name}"
        for path in sorted(root.glob("*_location/warehouse.sql"))
        for owned in re.findall(r"create schema if not exists (\w+)", path.read_text())
    }
    if where := owned.get(schema):
        raise LocationError(f"NAME={name}: its schema {schema} is already created in {where}. Choose another name.")
    if schema.startswith("pg_") or schema in _RESERVED.split():
        raise LocationError(f"NAME={name}: a schema cannot be called {schema}. Choose another name.")


def check_made_here(name: str, root: Path = ROOT) -> None:
    check_exists("NAME", name, root)
    if MADE_HERE not in (root / name / "pyproject.toml").read_text():
        raise LocationError(
            f"{name} was not made by `make new-location`: its pyproject.toml has no [tool.location]. Other locations, "
            "the demo and the tests may depend on it. Remove it by hand."
        )


def with_lines(name: str, team: str, root: Path = ROOT) -> dict[str, str]:
    """The content of the shared files, by path, with the location's lines after those of the other locations."""
    files: dict[str, str] = {}
    for file, lines in _SHARED_LINES:
        content = files.get(file) or (root / file).read_text()
        places = list(re.finditer(_pattern(lines), content, re.MULTILINE))
        if not places:
            raise LocationError(f"{file} has no line like those of the other locations: {lines}")
        end = places[-1].end()
        files[file] = content[:end] + lines.format(name=name, team=team) + content[end:]
    return files


def without_lines(name: str, root: Path = ROOT) -> dict[str, str]:
    files: dict[str, str] = {}
    for file, lines in _SHARED_LINES:
        content = files.get(file) or (root / file).read_text()
        files[file] = re.sub(_pattern(lines, name), "", content, count=1, flags=re.MULTILINE)
    return files


def _pattern(lines: str, name: str = r"\w+_location") -> str:
    """A pattern of these lines for one location, or for any; spaces align the names of the teams."""
    pattern = re.escape(lines).replace(r"\{name\}", name).replace(r"\{team\}", r"\S+")
    return "^" + pattern.replace(r"\ @", " +@")
