"""The folder that the monthly reports are written to, for a file server to serve."""

import fcntl
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg

PAGE = re.compile(r"\d{4}-\d{2}\.html")


class ReportsError(RuntimeError):
    """The folder cannot be written to; the message names it and says what to do."""


class Reports(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the reports are written, and the URL under which that folder is read."""

    folder: str
    url: str

    def publish(self, name: str, page: str, index: Callable[[Sequence[str]], str]) -> Path:
        """Writes a page, and the index of all existing pages, newest first.

        Readers see the old page or the new one, never a part. Simultaneous runs take turns, so each index lists its own
        page and all earlier ones. ``index`` makes the HTML of the index from the names of all pages.

        Raises:
            ReportsError: the folder cannot be written to.
        """
        folder = Path(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                _replace(folder / name, page)
                pages = sorted((path.name for path in folder.iterdir() if PAGE.fullmatch(path.name)), reverse=True)
                _replace(folder / "index.html", index(pages))
        except OSError as error:
            raise ReportsError(
                f"{error.filename2 or error.filename or folder}: the report cannot be written ({error.strerror}). "
                "Set REPORTS_DIR to a folder with free space that this process may write to, then build the month "
                "again."
            ) from error
        return folder / name


def _replace(path: Path, text: str) -> None:
    """Writes a new file in the same folder, and replaces this one once the new file is complete and on the disk."""
    # Always the same name, so that what a killed run left is overwritten. The lock keeps others away.
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    # The file server runs as another user.
    part.chmod(0o644)
    part.replace(path)
