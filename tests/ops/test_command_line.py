"""`python -m ops`: its commands, and what it answers to wrong arguments."""

import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner, Result

from ops.__main__ import app
from ops.command import ROOT
from ops.locations import LocationError

COMMANDS = """
deploy rollback deployments watch status rebuild backup restore rehearse-upgrade backup-key rotate-password
secret secrets remove-secret new-location remove-location check-location contract roles whoami audit doctor diagnostics
users tokens
kubernetes alerts
"""


def ops(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ops", *arguments], cwd=ROOT, capture_output=True, text=True)


def ops_in_this_process(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="python -m ops")


def test_the_help_lists_every_command() -> None:
    listed = re.findall(r"^\W* ([a-z-]+)  ", ops("--help").stdout, re.MULTILINE)
    assert [name for name in listed if name[0] != "-"] == COMMANDS.split()


@pytest.mark.parametrize("command", [*COMMANDS.split(), "pin"])
def test_every_command_has_help_of_its_own(command: str) -> None:
    ended = ops_in_this_process(command, "--help")
    assert (ended.exit_code, f"python -m ops {command}" in ended.stdout) == (0, True)


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        ("deploy", "LOCATION"),
        ("rollback", "LOCATION"),
        ("new-location", "NAME"),
        ("remove-location", "NAME"),
        ("check-location", "NAME"),
        ("secret", "LOCATION"),
        ("secrets", "LOCATION"),
        ("remove-secret", "LOCATION"),
    ],
)
def test_an_argument_that_is_missing_is_named(command: str, argument: str) -> None:
    ended = ops_in_this_process(command)
    assert (ended.exit_code, f"Missing argument '{argument}'" in ended.stderr) == (2, True)


def test_a_tag_that_is_given_and_empty_is_an_error_that_says_so() -> None:
    ended = ops("deploy", "--tag=", "dbt_location")
    assert (ended.returncode, ended.stderr.startswith("TAG is given and empty. ")) == (1, True)


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        ("deploy", "LOCATION"),
        ("rollback", "LOCATION"),
        ("secrets", "LOCATION"),
        ("remove-location", "NAME"),
        ("check-location", "NAME"),
    ],
)
@pytest.mark.parametrize("name", ["", "weather", "../dbt_location"])
def test_a_name_that_is_no_location_is_an_error_that_lists_the_locations(
    command: str, argument: str, name: str
) -> None:
    error = ops_in_this_process(command, "--", name).exception
    assert isinstance(error, LocationError)
    assert str(error).startswith(f"{argument}={name!r} is not a location. The locations are: dbt_location, ")


def test_an_error_is_printed_without_a_traceback() -> None:
    ended = ops("secrets", "--", "weather")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("LOCATION='weather' is not a location.")


def test_a_backup_that_is_not_there_is_an_error_that_says_so() -> None:
    ended = ops("restore", "no-such-folder")
    assert (ended.returncode, "no backup there" in ended.stderr) == (1, True)
