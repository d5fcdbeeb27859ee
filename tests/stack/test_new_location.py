"""A third team in the live stack, from `make new-location` to `make remove-location`.

All is done in a copy of the repository. The tests build on one another, in this order.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from ops.locations import LOCATIONS
from tests.checkout import commit, copy_repository
from tests.stack.conftest import ONE_SHOTS, PROJECT, Stack

pytestmark = pytest.mark.drill

NAME = "weather_location"
KINDS = {"container": ["--all"], "volume": [], "network": []}


class Team:
    """A third team: its clone, and what it types there."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        # The stack's own environment, without what a test run has set for this process alone.
        self.env = {name: value for name, value in stack.env.items() if name != "COMPOSE_ENV_FILES"}

    def start(self, *command: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    def fails(self, *command: str) -> str:
        """Runs a command that must fail, and returns what it says."""
        ended = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert ended.returncode != 0, ended.stdout
        return ended.stderr

    def run(self, *command: str) -> str:
        """Runs a command that must succeed, and returns what it prints."""
        return finish(self.start(*command))


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def containers(stack: Stack) -> dict[str, str]:
    """Per service that goes on, the id of its container."""
    return {name: service["ID"] for name, service in stack.services().items() if name not in ONE_SHOTS}


def names(stack: Stack) -> dict[str, set[str]]:
    """The names of the containers, volumes and networks of the project, but for one-shots and what is nobody's."""
    nobodys = {f"{PROJECT}_deployments", *(f"{PROJECT}-{service}-1" for service in ONE_SHOTS)}
    listed = {}
    for kind, every in KINDS.items():
        form = "{{.Names}}" if kind == "container" else "{{.Name}}"
        command = ("docker", kind, "ls", *every, "--filter", f"name={PROJECT}", "--format", form)
        listed[kind] = set(stack.command(*command).split()) - nobodys
    return listed


@pytest.fixture(scope="module")
def before(stack: Stack) -> dict[str, Any]:
    """The stack without the third team."""
    stack.up()
    return {"containers": containers(stack), "images": images(stack), "names": names(stack), "schemas": schemas(stack)}


def images(stack: Stack) -> set[str]:
    """The location's images, those of other stacks on this machine included."""
    return set(stack.command("docker", "image", "ls", "--quiet", NAME).split())


def schemas(stack: Stack) -> list[list[Any]]:
    """Every schema of the warehouse with its owner, and every role."""
    return stack.query(
        "select nspname, pg_get_userbyid(nspowner) from pg_namespace where nspname !~ '^pg_(toast|temp)'"
        " union all select rolname, '' from pg_roles order by 1, 2"
    )


@pytest.fixture(scope="module")
def team(stack: Stack, before: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The third team, with its location deployed into the stack that runs."""
    assert before
    folder = tmp_path_factory.mktemp("third") / "clone"
    copy_repository(folder)
    commit(folder, "before")
    (folder / ".git/info/exclude").write_text(".venv\n")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    team = Team(stack, folder)
    team.run("make", "new-location", f"NAME={NAME}")
    commit(folder, "a third team")
    team.run("make", "deploy", f"LOCATION={NAME}")
    yield team
    if NAME in stack.services():
        team.run("make", "remove-location", f"NAME={NAME}", "DROP_DATA=1")


@pytest.fixture(scope="module")
def alone(team: Team) -> Iterator[subprocess.Popen[str]]:
    """The location's own checks, in an environment of its own lock, beside the tests of the stack."""
    process = team.start("make", "check-location", f"NAME={NAME}")
    yield process
    process.kill()
    process.wait()


def test_a_deploy_of_a_new_location_leaves_every_other_container_as_it_was(
    stack: Stack, before: dict[str, Any], team: Team, alone: subprocess.Popen[str]
) -> None:
    assert alone.pid
    now = containers(stack)
    new = {NAME, f"{NAME}_gateway"}
    assert {name: container for name, container in now.items() if name not in new} == before["containers"]
    assert new <= set(now)


def test_the_webserver_shows_the_new_location_beside_the_others(stack: Stack, team: Team) -> None:
    loaded = {name: location["__typename"] for name, location in stack.webserver.locations().items()}
    assert loaded == dict.fromkeys((*LOCATIONS, NAME), "RepositoryLocation")


def test_its_asset_hangs_on_the_other_teams_asset_in_one_graph(stack: Stack, team: Team) -> None:
    data = stack.webserver.ask(
        "query ($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) {"
        " assetKey { path } isMaterializable repository { location { name } } dependedByKeys { path } } }",
        keys=[{"path": ["daily_metrics"]}],
    )
    owner = {node["repository"]["location"]["name"]: node for node in data["assetNodes"]}["dbt_location"]
    assert (owner["isMaterializable"], {"path": ["weather_trips"]} in owner["dependedByKeys"]) == (True, True)


def test_a_run_of_its_asset_writes_its_rows(stack: Stack, team: Team) -> None:
    run_id = stack.webserver.launch(NAME, ["weather_observations"], **{"dagster/partition": "2023-01-01"})
    assert stack.webserver.finished(run_id)["status"] == "SUCCESS"
    assert stack.query("select count(*), min(day), max(day) from weather.observations") == [
        [31, "2023-01-01", "2023-01-31"]
    ]
    assert stack.run_container(run_id)["Config"]["Image"].startswith(f"{NAME}:")


def test_the_table_of_the_other_team_is_closed_until_its_owner_opens_it(stack: Stack, team: Team) -> None:
    run_id = stack.webserver.launch(NAME, ["weather_trips"], **{"dagster/partition": "2023-01-01"})
    run = stack.webserver.finished(run_id)
    (failure,) = [event for event in run["eventConnection"]["events"] if event.get("failureMetadata")]
    assert "Its owner gives the right in dbt_location/warehouse.sql" in failure["failureMetadata"]["description"]


def test_a_later_start_of_everything_recreates_nothing_of_the_others(
    stack: Stack, before: dict[str, Any], team: Team
) -> None:
    here = containers(stack)
    team.run("docker", "compose", "--profile", "sample", "up", "--detach", "--wait")
    assert containers(stack) == here
    assert {*before["containers"].items()} <= {*here.items()}


def test_its_own_checks_pass_alone(alone: subprocess.Popen[str]) -> None:
    assert "24 passed" in finish(alone)


def test_a_location_with_data_is_not_removed_without_a_word_about_it(stack: Stack, team: Team) -> None:
    said = team.fails("make", "remove-location", f"NAME={NAME}")
    assert "weather.observations" in said
    assert f"make remove-location NAME={NAME} DROP_DATA=1" in said
    assert containers(stack)[NAME]


def test_a_location_that_is_removed_leaves_stack_and_repository_as_they_were(
    stack: Stack, before: dict[str, Any], team: Team
) -> None:
    team.run("make", "remove-location", f"NAME={NAME}", "DROP_DATA=1")
    assert containers(stack) == before["containers"]
    assert (names(stack), schemas(stack)) == (before["names"], before["schemas"])
    assert images(stack) == before["images"]
    assert set(stack.webserver.locations()) == set(LOCATIONS)
    base = team.run("git", "rev-parse", "HEAD~1").strip()
    assert team.run("git", "diff", "--stat", base) == ""
    assert team.run("git", "ls-files", "--others", "--exclude-standard") == ""
    assert not (team.folder / ".env").exists()


def test_what_its_assets_did_stays_in_the_history(stack: Stack) -> None:
    assert ["weather_observations"] in [run["assets"] for run in stack.webserver.runs()]


def test_the_other_teams_work_goes_on(stack: Stack, before: dict[str, Any]) -> None:
    assert before
    assert stack.webserver.finished(stack.webserver.launch("ingestion_location", ["taxi_zones"]))["status"] == "SUCCESS"
