"""What the tests of several folders share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder in which an embedded Postgres can live; see ``demo.server.temporary_server``."""
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        yield Path(folder)
