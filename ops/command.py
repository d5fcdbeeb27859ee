"""Runs commands on this machine, such as docker and git; also the base class of this package's errors."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def printable(text: str) -> str:
    """Text of any origin, made safe for a terminal: without colours, and with control characters escaped."""
    plain = COLOUR.sub("", text)
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in plain)


class OpsError(Exception):
    """Any function of this package may raise it. The message says why, what state is left, and the next step.

    It may cite the output of a container or a run.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class Interrupted(BaseException):
    """A signal asks this process to end."""


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_signals() -> None:
    """Makes the signals that end a CI job an exception from now on, so that what is unfinished is cleaned up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"interrupted by {signal.Signals(number).name}")

    for number in SIGNALS:
        signal.signal(number, interrupt)


class CommandError(OpsError):
    """A command failed; the message is the command and the end of its output, ``reason`` says why in one line."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


def run(
    *arguments: str,
    stdin: str | IO[bytes] = "",
    stdout: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """Runs a command in the project's folder and returns what it prints, unless ``stdout`` is a file that gets it.

    ``env`` is added to this process's environment. Raises CommandError if it fails or takes over ``timeout`` seconds.
    """
    given: dict[str, Any] = {"input": stdin.encode()} if isinstance(stdin, str) else {"stdin": stdin}
    try:
        # Every command inherits the descriptor that holds the lock of a deploy, see deploy/ledger.py.
        given |= {"cwd": ROOT, "env": {**os.environ, **(env or {})}, "timeout": timeout, "close_fds": False}
        ended = subprocess.run(arguments, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE, **given)
    except FileNotFoundError:
        message = f"{arguments[0]}: there is no such command on this machine. Install it."
        raise CommandError(message, f"there is no command {arguments[0]}") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{' '.join(arguments[:4])}: no answer within {timeout:.0f} s") from None
    printed = (ended.stdout or b"").decode(errors="replace")
    if ended.returncode != 0:
        message = last_lines(ended.stderr.decode(errors="replace")) or last_lines(printed)
        command = " ".join(arguments[:4])
        raise CommandError(f"{command}: {message or f'exit code {ended.returncode}'}", first_line(message))
    return printed


def show(*arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> None:
    """Runs a command that prints to the terminal, such as the build of an image; raises CommandError if it fails."""
    full = {**os.environ, **(env or {})}
    ended = subprocess.run(arguments, cwd=cwd, env=full, stdin=subprocess.DEVNULL, close_fds=False)
    if ended.returncode != 0:
        raise CommandError(f"{' '.join(arguments[:4])} failed with exit code {ended.returncode}; its output is above.")


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """The output of `docker inspect` for an image, container, volume or network; None if it does not exist."""
    try:
        return dict(json.loads(run("docker", kind, "inspect", name))[0])
    except CommandError as error:
        if "no such" in str(error).lower():
            return None
        raise


def last_lines(text: str, number: int = 12) -> str:
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-number:])


def first_line(text: str | None) -> str:
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), "")


def log(line: str) -> None:
    print(printable(line), flush=True)
