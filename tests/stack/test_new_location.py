"""A third team joins the live stack with `make new-location` and leaves it with `make remove-location`.

Everything is done in a copy of the repository.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from ops.locations import LOCATIONS, policy_service
from tests.checkout import commit, copy_repository
from tests.stack.attacker import run_policy
from tests.stack.conftest import ONE_SHOTS, PROJECT, Stack

pytestmark = pytest.mark.drill

NAME = "weather_location"
KINDS = {"container": ["--all"], "volume": [], "network": []}


class Team:
    """A third team: its clone, and what it types there."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.env = dict(stack.env)

    def start(self, *command: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    def fails(self, *command: str) -> str:
        """Runs a command that must fail, and returns its error."""
        ended = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert ended.returncode != 0, ended.stdout
        return ended.stderr

    def run(self, *command: str) -> str:
        """Runs a command that must succeed, and returns its output."""
        return finish(self.start(*command))


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def containers(stack: Stack) -> dict[str, str]:
    """For each service that keeps running, the id of its container; volume_backups mounts what each location has."""
    passing = {*ONE_SHOTS, "volume_backups"}
    return {name: service["ID"] for name, service in stack.services().items() if name not in passing}


def names(stack: Stack) -> dict[str, set[str]]:
    """The names of the project's containers, volumes and networks, without the one-shots and the history of deploys."""
    left_out = {f"{PROJECT}_deployments", *(f"{PROJECT}-{service}-1" for service in ONE_SHOTS)}
    listed = {}
    for kind, every in KINDS.items():
        form = "{{.Names}}" if kind == "container" else "{{.Name}}"
        command = ("docker", kind, "ls", *every, "--filter", f"name={PROJECT}", "--format", form)
        listed[kind] = set(stack.command(*command).split()) - left_out
    return listed


@pytest.fixture
def before(stack: Stack) -> dict[str, Any]:
    """The stack before the third team came."""

    def look() -> dict[str, Any]:
        seen = {"containers": containers(stack), "images": images(stack), "names": names(stack)}
        return {**seen, "schemas": schemas(stack)}

    return stack.once("before the third team", look)


def images(stack: Stack) -> set[str]:
    """The location's images, including those of other stacks on this machine."""
    return set(stack.command("docker", "image", "ls", "--quiet", NAME).split())


def schemas(stack: Stack) -> list[list[Any]]:
    """Every schema of the warehouse with its owner, and every role."""
    return stack.query(
        "select nspname, pg_get_userbyid(nspowner) from pg_namespace where nspname !~ '^pg_(toast|temp)'"
        " union all select rolname, '' from pg_roles order by 1, 2"
    )


@pytest.fixture(scope="module")
def clone(project: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The third team's clone, with its location in it; in the end the location leaves the stack."""
    folder = tmp_path_factory.mktemp("third") / "clone"
    copy_repository(folder)
    commit(folder, "before")
    (folder / ".git/info/exclude").write_text(".venv\n")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    team = Team(project.start(), folder)
    team.run("make", "new-location", f"NAME={NAME}")
    commit(folder, "a third team")
    yield team
    if NAME in project.services():
        team.run("make", "remove-location", f"NAME={NAME}", "DROP_DATA=1")
    project.forget("before the third team")


@pytest.fixture
def team(stack: Stack, before: dict[str, Any], clone: Team) -> Team:
    """The third team, with its location deployed into the running stack."""
    assert before
    if NAME not in stack.services():
        # Removing the location has removed its folder.
        clone.run("git", "checkout", "--force", "HEAD", "--", ".")
        clone.run("make", "deploy", f"LOCATION={NAME}")
    return clone


@pytest.fixture(scope="module")
def alone(clone: Team) -> Iterator[subprocess.Popen[str]]:
    """The location's own checks, in an environment from its own lock, beside the tests of the stack."""
    process = clone.start("make", "check-location", f"NAME={NAME}")
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def observed(stack: Stack, team: Team) -> str:
    """A run of the new location's asset that succeeded."""

    def observe() -> str:
        run_id = stack.webserver.launch(NAME, ["weather_observations"], **{"dagster/partition": "2023-01-01"})
        assert stack.webserver.finished(run_id)["status"] == "SUCCESS"
        return run_id

    if not stack.query("select 1 as there from pg_tables where schemaname = 'weather' and tablename = 'observations'"):
        stack.forget("weather observed")
    return stack.once("weather observed", observe)


# The location's own checks take minutes; they run beside the tests from here on.
@pytest.mark.usefixtures("alone")
def test_a_deploy_of_a_new_location_leaves_every_other_container_as_it_was(
    stack: Stack, before: dict[str, Any], team: Team
) -> None:
    assert NAME in team.folder.joinpath("workspace.yaml").read_text()
    now = containers(stack)
    new = {NAME, f"{NAME}_gateway", policy_service(NAME)}
    assert {name: container for name, container in now.items() if name not in new} == before["containers"]
    assert new <= set(now)


def test_the_webserver_shows_the_new_location_beside_the_others(stack: Stack, team: Team) -> None:
    loaded = {name: location["__typename"] for name, location in stack.webserver.locations().items()}
    assert loaded == dict.fromkeys((*LOCATIONS, NAME), "RepositoryLocation")


def test_its_runs_get_what_those_of_every_location_get(stack: Stack, team: Team, observed: str) -> None:
    policy, host = run_policy(stack, NAME), stack.run_container(observed)["HostConfig"]
    assert (host["Binds"], host["NetworkMode"]) == (policy["volumes"], f"{PROJECT}_{NAME}")
    assert [volume for volume in policy["volumes"] if not volume.startswith(f"{PROJECT}_{NAME}_")] == []
    assert f"{PROJECT}_{NAME}_compute_logs:/opt/dagster/compute_logs" in policy["volumes"]


def test_its_asset_hangs_on_the_other_teams_asset_in_one_graph(stack: Stack, team: Team) -> None:
    data = stack.webserver.ask(
        "query ($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) {"
        " assetKey { path } isMaterializable repository { location { name } } dependedByKeys { path } } }",
        keys=[{"path": ["daily_metrics"]}],
    )
    owner = {node["repository"]["location"]["name"]: node for node in data["assetNodes"]}["dbt_location"]
    assert (owner["isMaterializable"], {"path": ["weather_trips"]} in owner["dependedByKeys"]) == (True, True)


def test_a_run_of_its_asset_writes_its_rows(stack: Stack, observed: str) -> None:
    assert stack.query("select count(*), min(day), max(day) from weather.observations") == [
        [31, "2023-01-01", "2023-01-31"]
    ]
    assert stack.run_container(observed)["Config"]["Image"].startswith(f"{NAME}:")


def test_the_new_team_cannot_read_the_table_of_another_team_until_its_owner_grants_it(
    stack: Stack, observed: str
) -> None:
    assert observed
    run_id = stack.webserver.launch(NAME, ["weather_trips"], **{"dagster/partition": "2023-01-01"})
    run = stack.webserver.finished(run_id)
    (failure,) = [event for event in run["eventConnection"]["events"] if event.get("failureMetadata")]
    assert "Its owner grants that in dbt_location/warehouse.sql" in failure["failureMetadata"]["description"]


def test_a_later_start_of_everything_recreates_nothing_of_the_others(
    stack: Stack, before: dict[str, Any], team: Team
) -> None:
    here = containers(stack)
    team.run("docker", "compose", "--profile", "sample", "up", "--detach", "--wait")
    assert containers(stack) == here
    assert {*before["containers"].items()} <= {*here.items()}


def test_its_own_checks_pass_alone(alone: subprocess.Popen[str]) -> None:
    output = finish(alone)
    # All of them, those with a Postgres too: none failed, was skipped or deselected.
    assert "tests/integration/test_months.py" in output
    assert re.search(r"= \d+ passed in ", output), output


def test_a_location_with_data_is_not_removed_unless_told_to_drop_the_data(
    stack: Stack, team: Team, observed: str
) -> None:
    assert observed
    error = team.fails("make", "remove-location", f"NAME={NAME}")
    assert "weather.observations" in error
    assert f"make remove-location NAME={NAME} DROP_DATA=1" in error
    assert containers(stack)[NAME]


def test_a_location_that_is_removed_leaves_only_its_history(
    stack: Stack, before: dict[str, Any], team: Team, observed: str
) -> None:
    assert observed
    team.run("make", "remove-location", f"NAME={NAME}", "DROP_DATA=1")
    assert containers(stack) == before["containers"]
    assert (names(stack), schemas(stack)) == (before["names"], before["schemas"])
    assert images(stack) == before["images"]
    assert set(stack.webserver.locations()) == set(LOCATIONS)
    policies = stack.command("docker", "compose", "exec", "-T", "daemon", "ls", "/opt/dagster/run_policies")
    assert policies.split() == sorted(f"{location}.json" for location in LOCATIONS)
    base = team.run("git", "rev-parse", "HEAD~1").strip()
    assert team.run("git", "diff", "--stat", base) == ""
    assert team.run("git", "ls-files", "--others", "--exclude-standard") == ""
    assert not (team.folder / ".env").exists()
    assert ["weather_observations"] in [run["assets"] for run in stack.webserver.runs()]
    # The other teams' work goes on.
    zones = stack.webserver.launch("ingestion_location", ["taxi_zones"])
    assert stack.webserver.finished(zones)["status"] == "SUCCESS"
