"""Embedded Postgres servers that have the databases of the project."""

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from demo.postgres import create_databases
from demo.server import start_server


@cache
def _prepared() -> Path:
    """The data folder of a stopped server, which is made once in a session, because that takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="data-"))
    atexit.register(shutil.rmtree, folder)
    with start_server(folder / "data") as host:
        create_databases(host)
    return folder / "data"


@contextmanager
def temporary_databases() -> Iterator[str]:
    """Starts a server that nobody else uses, with new databases, and yields the folder of its socket."""
    with tempfile.TemporaryDirectory(prefix="data-") as folder:
        data = Path(folder) / "data"
        # With its owner, which root's server needs.
        subprocess.run(["cp", "-a", _prepared(), data], check=True)
        with start_server(data) as host:
            yield host
