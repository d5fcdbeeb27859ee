"""The commands that a deploy runs on this machine: docker, through its CLI, and git."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class CommandError(RuntimeError):
    """A command failed; the message is the command and what it said last."""


def run(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
    """Runs a command in the project's folder and returns what it prints.

    Args:
        arguments: the command.
        stdin: what it reads.
        env: variables beside those of this process.

    Raises:
        CommandError: it is not there, or it failed.
    """
    try:
        ended = subprocess.run(
            arguments,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            # The lock of a deploy is a descriptor that every command holds along, see ledger.py.
            close_fds=False,
        )
    except FileNotFoundError:
        raise CommandError(f"{arguments[0]}: there is no such command on this machine. Install it.") from None
    if ended.returncode != 0:
        said = last_lines(ended.stderr) or last_lines(ended.stdout) or f"exit code {ended.returncode}"
        raise CommandError(f"{' '.join(arguments[:4])}: {said}")
    return ended.stdout


def show(*arguments: str, env: Mapping[str, str] | None = None) -> None:
    """Runs a command whose output is worth seeing while it works, such as the build of an image.

    Raises:
        CommandError: it failed.
    """
    full = {**os.environ, **(env or {})}
    ended = subprocess.run(arguments, cwd=ROOT, env=full, stdin=subprocess.DEVNULL, close_fds=False)
    if ended.returncode != 0:
        raise CommandError(f"{' '.join(arguments[:4])} failed with exit code {ended.returncode}; it says why above.")


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """Describes an image, a container or a volume as `docker inspect` does; None where there is none of this name."""
    try:
        described = json.loads(run("docker", kind, "inspect", name))
    except CommandError as error:
        if "no such" in str(error).lower():
            return None
        raise
    return dict(described[0])


def last_lines(text: str, number: int = 12) -> str:
    """The last lines of an output, without empty ones."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-number:])
