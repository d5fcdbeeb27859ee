"""One setting in compose's .env file, changed in its place or taken out."""

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def set_variable(path: Path, name: str, value: str) -> bool:
    """Sets a variable in an env file and leaves its other lines as they are.

    Returns:
        Whether the file was changed.
    """
    return _rewrite(path, lambda text: with_variable(text, name, value))


def remove_variable(path: Path, name: str) -> bool:
    """Takes a variable out of an env file and leaves its other lines as they are.

    Returns:
        Whether the file was changed.
    """
    return _rewrite(path, lambda text: without_variable(text, name))


def _rewrite(path: Path, change: Callable[[str], str]) -> bool:
    """Changes an env file; one that becomes empty goes.

    Whoever reads meanwhile sees the old file or the new one, and two that write take turns, so none loses the other's.
    """
    path = path.resolve()  # a link stays one
    with _turn(path.parent):
        before = path.read_text() if path.exists() else ""
        after = change(before)
        if after == before:
            return False
        if not after:
            path.unlink()
            return True
        descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
            Path(new).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
            Path(new).replace(path)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise
        return True


def without_variable(text: str, name: str) -> str:
    """An env file's text without the lines that set this variable."""
    return "".join(line for line in text.splitlines(keepends=True) if not _sets(line, name))


def with_variable(text: str, name: str, value: str) -> str:
    """An env file's text with this variable at this value: where it is set last, or else as a new last line."""
    lines = text.splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if _sets(line, name)]
    if found:
        lines[found[-1]] = f"{name}={value}\n"
    else:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        lines.append(f"{name}={value}\n")
    return "".join(lines)


def _sets(line: str, name: str) -> bool:
    return re.match(rf"\s*(export\s+)?{re.escape(name)}\s*=", line) is not None


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
