"""A team's own secret is read by its own location alone, and shown nowhere; a backup is for its owner alone."""

import json
import subprocess
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from ops.command import ROOT
from ops.locations import LOCATIONS
from tests.stack.attacker import run_as
from tests.stack.conftest import LABEL, Stack

NAME, VALUE = "weather_api_key", "s3cr3t-of-one-team"


@pytest.fixture
def secret(stack: Stack) -> str:
    """The file of a secret of dbt_location."""

    def store() -> str:
        stack.give_secret("dbt_location", NAME, f"{VALUE}\n")
        return f"/run/secrets/{NAME}"

    return stack.once("secret", store)


def read(stack: Stack, location: str, path: str) -> str | None:
    """What a location's code reads in a file; None if it cannot."""
    command = ["docker", "compose", "exec", "-T", location, "cat", path]
    ended = subprocess.run(command, cwd=ROOT, env=stack.env, capture_output=True, text=True)
    return ended.stdout if ended.returncode == 0 else None


def test_a_secret_is_read_by_its_own_locations_code_and_no_other(stack: Stack, secret: str) -> None:
    assert {location: read(stack, location, secret) for location in LOCATIONS} == {
        location: VALUE if location == "dbt_location" else None for location in LOCATIONS
    }


def test_a_secret_is_read_by_its_own_locations_runs_and_no_other(stack: Stack, secret: str) -> None:
    code = f"print(open({secret!r}).read(), end='')"
    assert run_as(stack, "dbt_location", code) == (0, VALUE)
    for location in set(LOCATIONS) - {"dbt_location"}:
        exit_code, output = run_as(stack, location, code)
        assert (exit_code, "No such file or directory" in output) == (1, True)


def test_a_secret_is_a_file_that_its_user_alone_may_read_and_not_change(stack: Stack, secret: str) -> None:
    inside = ("docker", "compose", "exec", "-T", "dbt_location")
    assert stack.command(*inside, "stat", "-c", "%a %U", secret) == "600 dagster\n"
    with pytest.raises(AssertionError, match="Read-only file system"):
        stack.command(*inside, "sh", "-c", f"echo other > {secret}")


def test_a_secret_is_in_no_description_of_a_container_or_volume_and_in_no_log(stack: Stack, secret: str) -> None:
    containers = stack.command("docker", "ps", "--all", "--quiet", "--filter", LABEL).split()
    shown = json.dumps(stack.inspect(*containers)) + stack.command("docker", "compose", "logs", "--no-color")
    volume = stack.command("docker", "volume", "inspect", f"{stack.env['COMPOSE_PROJECT_NAME']}_dbt_location_secrets")
    listed = stack.command("make", "secrets", "LOCATION=dbt_location")
    assert NAME in listed
    assert VALUE not in shown + volume + listed + stack.command("docker", "compose", "config")


def test_a_secret_that_is_removed_is_gone_and_one_that_is_not_there_is_named(stack: Stack) -> None:
    stack.give_secret("dbt_location", "short_lived", VALUE)
    arguments = ("make", "remove-secret", "LOCATION=dbt_location", "NAME=short_lived")
    stack.command(*arguments)
    assert read(stack, "dbt_location", "/run/secrets/short_lived") is None
    with pytest.raises(AssertionError, match="NAME=short_lived is no secret of dbt_location"):
        stack.command(*arguments)


@pytest.mark.drill
def test_a_backup_is_for_its_owner_alone_and_an_open_folder_is_reported(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    stack.command("make", "backup", BACKUP_DIR=str(folder))
    (backup,) = folder.glob("2*")
    assert {path.stat().st_mode & 0o777 for path in (folder, backup)} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in backup.iterdir()} == {0o600}
    folder.chmod(0o755)
    printed = stack.command("make", "backup", BACKUP_DIR=str(folder))
    assert f"{folder} is open to other users of this machine (mode 0755). Close it: chmod 700 {folder}" in printed


@pytest.mark.drill
def test_an_sbom_names_every_package_of_the_lock_and_of_debian(stack: Stack) -> None:
    stack.command("make", "sbom", "NAME=dbt_location", f"TAG={stack.env['DBT_LOCATION_TAG']}")
    components = json.loads((ROOT / "sbom/dbt_location.cdx.json").read_text())["components"]
    found = {(canonicalize_name(component["name"]), component["version"]) for component in components}
    lock = (ROOT / "dbt_location/requirements.lock").read_text().splitlines()
    locked = {tuple(line.partition(" ")[0].split("==")) for line in lock if "==" in line and ";" not in line}
    assert locked - found == set()
    assert any(component["purl"].startswith("pkg:deb/debian/libc6@") for component in components)


@pytest.mark.parametrize(
    ("value", "why"),
    [("", "no value was given"), ("\n", "no value was given"), ("x" * 65_537, "more than 65,536 bytes")],
)
def test_what_is_no_value_is_refused_and_not_stored(stack: Stack, value: str, why: str) -> None:
    with pytest.raises(AssertionError, match=f"NAME=refused: .*{why}"):
        stack.give_secret("dbt_location", "refused", value)
    assert read(stack, "dbt_location", "/run/secrets/refused") is None
