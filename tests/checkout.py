"""A copy of the repository, for commands that change it."""

import shutil
import subprocess
from pathlib import Path

from ops.command import ROOT


def copy_repository(folder: Path) -> None:
    """Copies the repository as git would have it, the changes that are not committed included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for path in filter(None, listed.split("\0")):
        if (ROOT / path).is_file():  # what is deleted and not committed is still listed
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            # With its time: make compares those of the locks with what is installed.
            shutil.copy2(ROOT / path, folder / path)


def commit(folder: Path, message: str) -> None:
    """Commits all that is in a folder, which becomes a repository of its own where it is none."""
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for command in (("init", "--quiet"), ("add", "--all"), (*who, "commit", "--quiet", "--message", message)):
        subprocess.run(["git", *command], cwd=folder, check=True)
