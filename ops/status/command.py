"""Runs the commands of Docker."""

import subprocess

from ops.command import ROOT


class SourceError(Exception):
    """A source did not answer; the message is one line."""


def first_line(text: str | None) -> str:
    """The first line of a text that says something."""
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), "")


def output(*command: str, stdin: str = "", seconds: float = 20) -> str:
    """What a command prints, run in the project's folder.

    Raises:
        SourceError: it is not there, did not succeed, or took longer than so many seconds.
    """
    try:
        ended = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        raise SourceError(f"there is no command {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"{' '.join(command[:2])} did not answer in {seconds:.0f} s") from None
    if ended.returncode != 0:
        raise SourceError(first_line(ended.stderr) or f"{' '.join(command[:2])} ended with {ended.returncode}")
    return ended.stdout
