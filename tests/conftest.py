"""Fixtures for the tests of several folders."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# A test calls make as a user does, not as a part of the make that runs the tests.
for _name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that an embedded Postgres can enter, unlike pytest's own; see ``demo.postgres.temporary_server``."""
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        yield Path(folder)
