"""The tags in compose's env file. Own code, since python-dotenv's set_key drops the blank lines before a variable."""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.command import ROOT


def env_file() -> Path:
    """The file with settings for compose: the last one of COMPOSE_ENV_FILES, or .env."""
    given = os.environ.get("COMPOSE_ENV_FILES", "").split(",")[-1].strip()
    return ROOT / (given or ".env")


def set_variable(path: Path, name: str, value: str | None) -> bool:
    """Sets a variable in an env file, or removes it if the value is None, and leaves all other lines unchanged.

    The file is replaced atomically, under a lock, so concurrent writers do not lose each other's changes. A file that
    becomes empty is removed.

    Returns:
        Whether the file was changed.
    """
    path = path.resolve()  # a symbolic link stays one
    with _locked(path.parent):
        before = path.read_text() if path.exists() else ""
        after = with_variable(before, name, value)
        if after == before:
            return False
        if not after:
            path.unlink()
            return True
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as folder:
            new = Path(folder) / path.name
            with new.open("w") as file:
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
            new.chmod(mode)
            new.replace(path)
        return True


def with_variable(text: str, name: str, value: str | None) -> str:
    """An env file's text with the variable set where it was set last, or on a new last line; without it for None."""
    lines = text.splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if re.match(rf"\s*(export\s+)?{re.escape(name)}\s*=", line)]
    if value is None:
        return "".join(line for number, line in enumerate(lines) if number not in found)
    if found:
        lines[found[-1]] = f"{name}={value}\n"
    else:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        lines.append(f"{name}={value}\n")
    return "".join(lines)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
