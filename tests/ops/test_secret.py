"""A secret's value comes from stdin, and what cannot be one is refused before Docker is asked."""

import subprocess
import sys

import pytest

from ops.command import ROOT


def refusal(command: str, *arguments: str, value: bytes = b"") -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "ops", command, "--", *arguments], cwd=ROOT, input=value, capture_output=True
    )
    assert ended.returncode == 1
    return ended.stderr.decode()


@pytest.mark.parametrize("command", ["secret", "remove-secret"])
@pytest.mark.parametrize("name", ["", "A", "../pgpass", ".new", "a/b", "a b", "1a", "a" * 64, "$(id)", "ä"])
def test_a_name_that_is_no_files_name_is_refused(command: str, name: str) -> None:
    assert f"NAME={name!r} is not a secret's name." in refusal(command, "dbt_location", name)


@pytest.mark.parametrize("command", ["secret", "remove-secret"])
def test_a_location_that_does_not_exist_is_refused_with_those_that_do(command: str) -> None:
    assert "LOCATION='weather' is not a location. The locations are: dbt_location" in refusal(command, "weather", "a")
