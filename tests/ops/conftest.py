"""What the tests of locations that come and go share."""

from pathlib import Path

import pytest

from tests.checkout import copy_repository


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Folder of a copy of the repository."""
    copy_repository(tmp_path / "copy")
    return tmp_path / "copy"
