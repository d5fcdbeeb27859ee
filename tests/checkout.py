"""A copy of the repository, for commands that change it."""

import shutil
import subprocess
from pathlib import Path

from ops.command import ROOT


def copy_repository(folder: Path) -> None:
    """Copies the files that git tracks or would add, including uncommitted changes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for path in filter(None, listed.split("\0")):
        if (ROOT / path).is_file():  # a deleted file is listed until the deletion is committed
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            # With its modification time: make compares those of the locks with the installed environments.
            shutil.copy2(ROOT / path, folder / path)


def commit(folder: Path, message: str) -> None:
    """Commits everything in a folder; makes it a repository first if it is none."""
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for command in (("init", "--quiet"), ("add", "--all"), (*who, "commit", "--quiet", "--message", message)):
        subprocess.run(["git", *command], cwd=folder, check=True)
