"""The tags in compose's env file. Own code, since python-dotenv's set_key drops the blank lines before a variable."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.command import ROOT


def env_files() -> list[Path]:
    """The files with settings for compose, of which a later one has precedence: those of COMPOSE_ENV_FILES, or .env."""
    given = [name.strip() for name in os.environ.get("COMPOSE_ENV_FILES", "").split(",")]
    return [ROOT / name for name in given if name] or [ROOT / ".env"]


def env_file() -> Path:
    """The last one of these, in which commands set a tag."""
    return env_files()[-1]


def set_variable(path: Path, name: str, value: str | None) -> None:
    """Sets a variable in an env file, or removes it if the value is None, and leaves all other lines unchanged.

    The file is replaced atomically, under a lock, so concurrent writers do not lose each other's changes. A file that
    becomes empty is removed.
    """
    path = path.resolve()  # a symbolic link stays one
    with locked(path.parent):
        before = path.read_text() if path.exists() else ""
        after = with_variable(before, name, value)
        if after and after != before:
            mode = path.stat().st_mode if path.exists() else 0o644
            new = path.with_name(f"{path.name}.new")
            new.touch(0o600)
            with new.open("w") as file:
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
            new.chmod(mode)
            new.replace(path)
        elif not after:
            path.unlink(missing_ok=True)


def with_variable(text: str, name: str, value: str | None) -> str:
    """An env file's text with the variable set where it was set last, or on a new last line; without it for None."""
    lines = text.splitlines()
    found = [number for number, line in enumerate(lines) if re.match(rf"\s*(export\s+)?{re.escape(name)}\s*=", line)]
    if value is None:
        lines = [line for number, line in enumerate(lines) if number not in found]
    elif found:
        lines[found[-1]] = f"{name}={value}"
    else:
        lines.append(f"{name}={value}")
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other commands that change a file of this folder waiting."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
