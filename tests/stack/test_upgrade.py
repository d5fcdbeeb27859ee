"""The rehearsal of an upgrade of Postgres: a backup of the stack, restored into a throwaway server."""

import subprocess
from pathlib import Path

import pytest

from tests.stack.backfill import build_missing
from tests.stack.conftest import PROJECT, Stack

pytestmark = [pytest.mark.drill, pytest.mark.release]

# Postgres's next major release.
NEXT = f"{PROJECT}-postgres:18"
LEDGER = "update raw_taxis.trip_files set rows = rows {} 1 where month = '2023-02-01'"


@pytest.fixture
def loaded(project: Stack) -> Stack:
    """A stack with three months and their days."""
    project.start()
    project.once("three months", lambda: build_missing(project, metrics=False))
    return project


@pytest.fixture(scope="module")
def next_postgres() -> str:
    build = ("docker", "build", "--quiet", "--tag", NEXT, str(Path(__file__).with_name("postgres_next")))
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return NEXT


def psql(stack: Stack, statement: str) -> None:
    stack.command(
        "docker", "exec", f"{PROJECT}-postgres-1", "psql", "-U", "postgres", "-d", "warehouse", "-c", statement
    )


def left_of_a_rehearsal(stack: Stack) -> str:
    name = f"{PROJECT}-rehearsal"
    listed = (
        ("docker", "ps", "--all", "--quiet", "--filter", f"name={name}"),
        ("docker", "volume", "ls", "--quiet", "--filter", f"name={name}"),
        ("docker", "image", "ls", "--quiet", "--filter", f"reference=*:{name}"),
    )
    return "".join(stack.command(*command) for command in listed)


def test_a_backup_is_restored_into_the_next_major_postgres_and_the_running_stack_is_not_touched(
    loaded: Stack, next_postgres: str, tmp_path: Path
) -> None:
    services = {name: service["ID"] for name, service in loaded.services().items()}
    loaded.command("make", "backup", BACKUP_DIR=str(tmp_path))
    rehearse = ("make", "rehearse-upgrade", f"POSTGRES_IMAGE={next_postgres}")
    printed = loaded.command(*rehearse, BACKUP_DIR=str(tmp_path))
    assert "rehearsing with Postgres 18." in printed
    assert "Nothing is wrong." in printed
    assert {name: service["ID"] for name, service in loaded.services().items()} == services
    assert left_of_a_rehearsal(loaded) == ""


def test_a_rehearsal_names_the_month_whose_trips_are_not_those_of_the_ledger(loaded: Stack, tmp_path: Path) -> None:
    psql(loaded, LEDGER.format("+"))
    try:
        loaded.command("make", "backup", BACKUP_DIR=str(tmp_path))
    finally:
        psql(loaded, LEDGER.format("-"))
    with pytest.raises(AssertionError, match=r"The upgrade would not work.*\n.*raw_taxis.trips has .* of 2023-02-01"):
        loaded.command("make", "rehearse-upgrade", BACKUP_DIR=str(tmp_path))
    assert left_of_a_rehearsal(loaded) == ""
