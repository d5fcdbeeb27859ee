"""Fixtures for the tests of several folders."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that an embedded Postgres can enter, unlike pytest's own; see ``demo.postgres.temporary_server``."""
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        yield Path(folder)
