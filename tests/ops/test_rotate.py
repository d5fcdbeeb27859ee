"""The rule by which Postgres accepts a role without a password for a moment; tests/stack tries the whole rotation."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from ops.locations import LocationError
from ops.rotate import _SET_LINES, rotate_password

RULES = "local all all trust\nhost all all all scram-sha-256\n"
OTHER = (
    "host all dbt_location_two_location 10.0.0.9/32 trust # make rotate-password LOCATION=dbt_location_two_location 1\n"
)
LEFT = "host all dbt_location 10.0.0.9/32 trust # make rotate-password LOCATION=dbt_location 0\n"
MARK = "# make rotate-password LOCATION=dbt_location 2"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The file, with the line of another location's rotation and one that a killed rotation left."""
    (tmp_path / "pg_hba.conf").write_text(LEFT + OTHER + RULES)
    return tmp_path / "pg_hba.conf"


def set_lines(rules: Path, *lines: str, seconds: str = "120") -> None:
    script = _SET_LINES.replace("sleep 120", f"sleep {seconds}")
    env = os.environ | {"PGDATA": str(rules.parent)}
    subprocess.run(["sh", "-c", script, "dbt_location", MARK, *lines], env=env, check=True)


def test_the_lines_of_a_rotation_come_first_and_go_with_those_that_were_left(rules: Path) -> None:
    set_lines(rules, "host all dbt_location 10.0.0.1/32 trust", seconds="3")
    assert rules.read_text() == f"host all dbt_location 10.0.0.1/32 trust {MARK}\n" + OTHER + RULES
    deadline = time.monotonic() + 30
    # By themselves, for the command may be killed.
    while rules.read_text() != OTHER + RULES:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_end_of_a_rotation_leaves_the_lines_of_others(rules: Path) -> None:
    set_lines(rules)
    assert rules.read_text() == OTHER + RULES


def test_a_location_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    with pytest.raises(LocationError, match=r"LOCATION='nowhere' is not a location.*dbt_location.*or dagster"):
        rotate_password("nowhere")
