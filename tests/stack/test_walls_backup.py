"""What a location's runs write to the volume of its reports keeps nobody from making a backup."""

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.backup.backup import pack
from ops.command import run
from tests.stack.conftest import PROJECT
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill

IMAGE = "postgres:17"
NAME = f"{PROJECT}-walls-backup"
# A file that has holes only, and one that grows and shrinks all the time.
WRITES = """
truncate --size 2G /files/holes
while :; do head --bytes 50M /dev/zero >/files/changing; done
"""


@pytest.fixture
def volume() -> Iterator[str]:
    """A volume that a container writes to."""
    try:
        run("docker", "run", "--detach", "--name", NAME, "--volume", f"{NAME}:/files", IMAGE, "bash", "-c", WRITES)
        wait_for("a file that changes", 30, lambda: "changing" in run("docker", "exec", NAME, "ls", "/files"))
        yield NAME
    finally:
        subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, check=False)
        subprocess.run(["docker", "volume", "rm", "--force", NAME], capture_output=True, check=False)


def test_files_that_change_and_files_of_holes_are_backed_up_and_take_the_room_that_they_have(
    volume: str, tmp_path: Path
) -> None:
    path = tmp_path / "reports.tar"
    # Some moments are without a change.
    for _ in range(3):
        with path.open("wb") as file:
            pack(volume, IMAGE, file)
        assert path.stat().st_size < 2**28
        with tarfile.open(path) as packed:
            assert {"./holes", "./changing"} <= set(packed.getnames())
