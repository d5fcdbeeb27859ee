"""Fixtures for the tests of several folders."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# A test calls make as a user does, not as a part of the make that runs the tests.
for _name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
    os.environ.pop(_name, None)


def pytest_collection_finish() -> None:
    """Keeps the garbage collector from what is imported, which it would search again and again."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that an embedded Postgres can enter, unlike pytest's own; see ``demo.postgres.temporary_server``."""
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        yield Path(folder)
