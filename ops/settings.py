"""The settings of the compose stack: which there are, which are given, and whether a value can be right."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ops.command import ROOT
from ops.env_file import env_files

EXAMPLE = dict(re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
# Settings of Compose and of what it starts.
NOT_OURS = re.compile(r"COMPOSE_|DOCKER_|BUILDX_|BUILDKIT_")
# For settings that are NAME=default in .env.example: what a value has to match, and how to say so.
_FORMS = (
    (r"=(on|off)$", r"on|off", "on or off"),
    (r"_PORT=", r"0*[1-9]\d{0,4}", "a port, 1 to 65535"),
    (r"_CPUS_LIMIT=", r"\d+(\.\d+)?", "a number of CPUs, such as 1.5"),
    (r"=\d+$", r"\d+", "a whole number"),
    (r"=\d+[kmg]$", r"(?i)\d+(\.\d+)?[bkmg]b?", "a size, such as 512m or 2g"),
    (r"_DATE=", r"\d{4}-\d\d-01", "the first day of a month, such as 2023-01-01"),
    (r"^PUBLISH=", r"[\d.]+|[\da-fA-F:]+", "an address, such as 127.0.0.1"),
    (r"_URL=|^OIDC_ISSUER=", r"(https?|file)://\S+", "a URL, such as https://dagster.example"),
)
# A setting as Compose's env files have it: after `export`, in quotes of several lines, before a comment.
_SETTING = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*=[ \t]*"""
    r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)"|([^\n]*?))[ \t]*(?:[ \t]#[^\n]*)?$""",
    re.MULTILINE,
)
_SECRET = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|LOGIN|WEBHOOK")


def compose_files(root: Path = ROOT) -> list[Path]:
    """The compose files of the project, and those that this user lays over them."""
    listed = os.environ.get("COMPOSE_FILE") or in_env_files().get("COMPOSE_FILE", "")
    given = [root / name for name in listed.split(os.pathsep) if name]
    found = {*root.glob("*.yml"), *root.glob("*/*.yaml"), *(path for path in given if path.is_file())}
    return [path for path in sorted(found) if re.search(r"^services:", path.read_text(), re.MULTILINE)]


def variables(root: Path = ROOT) -> set[str]:
    """Every variable that compose reads from the environment or .env; not one of which it asks only if it is set."""
    text = "\n".join(path.read_text() for path in compose_files(root))
    passed_on = re.findall(r"args: (?:&\w+ )?\[([A-Z_]+)\]", text)
    return {*passed_on, *re.findall(r"(?<!\$)\$\{([A-Z][A-Z0-9_]*)(?![A-Z0-9_]|:\+)", text)}


def in_env_files() -> dict[str, str]:
    """What the env files set, the last one first; without the values of other variables filled in."""
    found: dict[str, str] = {}
    for path in env_files():
        text = path.read_text(errors="replace") if path.is_file() else ""
        found |= {name: "".join(values) for name, *values in _SETTING.findall(text)}
    return found


def given() -> dict[str, str]:
    """The known settings that are given, by this process's environment or else by an env file."""
    there = {**in_env_files(), **os.environ}
    return {name: there[name] for name in EXAMPLE if name in there}


def is_secret(name: str) -> bool:
    """Whether a variable's value may be a secret, by its name. The path of a file is none."""
    return bool(_SECRET.search(name.upper())) and not name.upper().endswith("_FILE")


def nobody_reads(names: Iterable[str]) -> dict[str, str]:
    """The names that nobody reads, each with the known name that is like it, or an empty text."""
    known = EXAMPLE.keys() | variables()
    unread = [name for name in names if name not in known and not NOT_OURS.match(name)]
    return {name: next(iter(difflib.get_close_matches(name.upper(), known, 1, 0.8)), "") for name in unread}


def wrong(name: str, value: str) -> str:
    """What a setting's value must be and is not, or an empty text."""
    # Compose takes the default for an empty value, and fills in the value of another variable.
    if value and "$" not in value:
        for setting, form, description in _FORMS:
            if re.search(setting, f"{name}={EXAMPLE[name]}"):
                return "" if re.fullmatch(form, value) else description
    return ""
