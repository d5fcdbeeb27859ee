"""A run is what the platform recorded of its location, whatever the run's row says.

The rows are inserted by Postgres's superuser: this wall must hold although the instance's database lets them in.
"""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops.locations import LOCATIONS, policy_service
from tests.stack.attacker import run_as, run_policy
from tests.stack.conftest import PROJECT, Stack
from tests.stack.webserver import wait_for

Change = Callable[[dict[str, Any], dict[str, Any]], None]
HOST_FOLDER = {"docker": {"container_kwargs": {"volumes": ["/:/host"], "user": "root", "privileged": True}}}


def volume(name: str) -> dict[str, Any]:
    """A container context that mounts a volume of the project."""
    return {"docker": {"container_kwargs": {"volumes": [f"{PROJECT}_{name}:/loot"]}}}


def code_pointer(module: str) -> dict[str, Any]:
    return {"__class__": "ModuleCodePointer", "fn_name": "defs", "module": module, "working_directory": None}


def claims(**changed: Any) -> Change:
    """Changes what a row says of its code."""
    return lambda row, code: code.update(changed)


def another_origin(row: dict[str, Any], code: dict[str, Any]) -> None:
    """The row says that the run is one of dbt_location; its code is still that of ingestion_location."""
    server = row["external_pipeline_origin"]["external_repository_origin"]["repository_location_origin"]
    server.update(host="dbt_location", location_name="dbt_location")


def removed_location(row: dict[str, Any], code: dict[str, Any]) -> None:
    server = row["external_pipeline_origin"]["external_repository_origin"]["repository_location_origin"]
    server.update(host="weather_location", location_name="weather_location")


ATTEMPTS: dict[str, tuple[Change, str]] = {
    "a folder of the host": (claims(container_context=HOST_FOLDER), "the run brings a container context (docker)"),
    "Postgres's socket": (claims(container_context=volume("postgres_socket")), "the run brings a container context"),
    "the other team's password": (
        claims(container_context=volume("dbt_location_credentials")),
        "the run brings a container context",
    ),
    "another image": (claims(container_image="postgres:17"), "the image 'postgres:17' was not deployed for ingestion"),
    "the other team's image": (
        claims(container_image=f"dbt_location:{PROJECT}"),
        f"the image 'dbt_location:{PROJECT}' was not deployed for ingestion_location",
    ),
    "another command": (claims(entry_point=["sh", "-c", "id"]), "the entry point ['sh', '-c', 'id'] is not"),
    "another Python": (
        claims(executable_path="/tmp/python"),
        "the executable '/tmp/python' is not /opt/venv/bin/python",
    ),
    "another module": (
        claims(code_pointer=code_pointer("antigravity")),
        "the code pointer ModuleCodePointer(module='ant",
    ),
    "another location": (another_origin, f"the image 'ingestion_location:{PROJECT}' was not deployed for dbt_location"),
    "a removed location": (
        removed_location,
        "There is no run policy /opt/dagster/run_policies/weather_location.json, so no run of weather_location is lau",
    ),
}


@pytest.fixture
def genuine(stack: Stack) -> dict[str, Any]:
    """The row of a run of ingestion_location that Dagster has made."""

    def load() -> dict[str, Any]:
        run_id = stack.webserver.launch("ingestion_location", ["taxi_zones"])
        assert stack.webserver.finished(run_id)["status"] == "SUCCESS"
        (body,) = as_superuser(stack, f"select run_body from runs where run_id = '{run_id}'").splitlines()
        return dict(json.loads(body))

    return stack.once("a genuine row", load)


def as_superuser(stack: Stack, statement: str) -> str:
    """Runs SQL in the instance's database, given by stdin, since a row is long."""
    psql = ("psql", "-U", "postgres", "-d", "dagster", "-v", "ON_ERROR_STOP=1", "-qtA")
    ended = subprocess.run(
        ["docker", "exec", "--interactive", f"{PROJECT}-postgres-1", *psql],
        input=statement,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


def queue(stack: Stack, genuine: dict[str, Any], change: Change | None = None, run_id: str = "") -> str:
    """Inserts a queued run like a genuine one but for a change, and returns its id."""
    run_id = run_id or str(uuid.uuid4())
    row = json.loads(json.dumps(genuine)) | {"run_id": run_id, "status": {"__enum__": "DagsterRunStatus.QUEUED"}}
    if change:
        change(row, row["pipeline_code_origin"]["repository_origin"])
    tags = ", ".join(f"('{run_id}', '{key}', $tag${value}$tag$)" for key, value in row["tags"].items())
    as_superuser(
        stack,
        "begin; insert into runs (run_id, pipeline_name, status, run_body, create_timestamp, update_timestamp) values"
        f" ('{run_id}', '{row['pipeline_name']}', 'QUEUED', $row${json.dumps(row)}$row$, now(), now());"
        f" insert into run_tags (run_id, key, value) values {tags};"
        # What the run was planned for, without which it may report no asset and no check.
        " insert into asset_check_executions (asset_key, check_name, run_id, execution_status)"
        f" select asset_key, check_name, '{run_id}', 'PLANNED' from asset_check_executions"
        f" where run_id = '{genuine['run_id']}';"
        " insert into event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)"
        f" select '{run_id}', replace(event, run_id, '{run_id}'), dagster_event_type, timestamp, step_key, asset_key,"
        f" partition from event_logs where run_id = '{genuine['run_id']}'"
        " and dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED'; commit;",
    )
    return run_id


def messages(run: dict[str, Any]) -> list[str]:
    return [event["message"] for event in run["eventConnection"]["events"] if event.get("message")]


def containers(stack: Stack, run_id: str) -> str:
    """The ids of the containers of a run, and of any that has its name."""
    found = stack.command("docker", "ps", "-aq", "--filter", f"label=dagster/run_id={run_id}")
    return found + stack.command("docker", "ps", "-aq", "--filter", f"name={run_id}")


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_queued_run_that_claims_more_than_its_location_has_fails_and_starts_nothing(
    stack: Stack, genuine: dict[str, Any], attempt: str
) -> None:
    change, message = ATTEMPTS[attempt]
    run_id = queue(stack, genuine, change)
    run = stack.webserver.finished(run_id)
    failures = messages(run)
    assert (run["status"], run["tags"]["dagster/max_retries"]) == ("FAILURE", "0")
    assert message in failures[0]
    assert containers(stack, run_id) == ""


def test_a_queued_run_that_claims_what_its_location_has_runs(stack: Stack, genuine: dict[str, Any]) -> None:
    """Otherwise the runs of the other tests would fail for another reason."""
    run = stack.webserver.finished(queue(stack, genuine))
    assert (run["status"], messages(run)) == ("SUCCESS", [])


def test_the_container_of_a_run_has_what_its_policy_says_and_no_more(stack: Stack, genuine: dict[str, Any]) -> None:
    policy = run_policy(stack, "ingestion_location")
    container = stack.run_container(genuine["run_id"])
    host = container["HostConfig"]
    assert container["Name"] == f"/{PROJECT}-run-{genuine['run_id']}"
    assert (host["Binds"], list(container["NetworkSettings"]["Networks"])) == (policy["volumes"], [policy["network"]])
    assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (
        policy["memory"],
        policy["pids"],
        int(policy["cpus"] * 1e9),
    )
    assert (host["CapDrop"], host["SecurityOpt"], host["ReadonlyRootfs"], host["Privileged"]) == (
        ["ALL"],
        ["no-new-privileges:true"],
        True,
        False,
    )


@pytest.fixture
def made_before(stack: Stack) -> Iterator[tuple[str, list[str]]]:
    """The id of a run, and the options of a container that the daemon may have made for it before it died."""
    run_id = str(uuid.uuid4())
    name = f"{PROJECT}-run-{run_id}"
    labels = (f"--label=project={PROJECT}", f"--label=dagster/run_id={run_id}")
    yield run_id, ["--name", name, *labels, f"ingestion_location:{PROJECT}", "echo", "started"]
    stack.command("docker", "rm", "--force", name)


def test_a_container_that_a_dying_daemon_has_left_is_started(
    stack: Stack, genuine: dict[str, Any], made_before: tuple[str, list[str]]
) -> None:
    run_id, container = made_before
    stack.command("docker", "create", *container)
    queue(stack, genuine, run_id=run_id)
    # What it prints shows that it is this one; Dagster takes its end for that of a lost run.
    printed = wait_for("output", 60, lambda: stack.command("docker", "logs", container[1]) or None)
    assert printed == "started\n"


def test_a_run_whose_container_has_ended_is_not_started_again(
    stack: Stack, genuine: dict[str, Any], made_before: tuple[str, list[str]]
) -> None:
    run_id, container = made_before
    stack.command("docker", "run", *container)
    queue(stack, genuine, run_id=run_id)
    assert stack.webserver.finished(run_id)["status"] == "FAILURE"
    assert stack.command("docker", "logs", container[1]) == "started\n"


@pytest.mark.parametrize("location", LOCATIONS)
def test_no_code_of_a_location_sees_a_run_policy(stack: Stack, location: str) -> None:
    code = "import os; print(os.path.exists('/opt/dagster/run_policies'), os.path.exists('/run_policies'))"
    assert run_as(stack, location, code) == (0, "False False\n")
    assert stack.command("docker", "compose", "exec", "-T", location, "python", "-c", code) == "False False\n"
    mounts = stack.inspect(stack.services()[location]["ID"])[0]["Mounts"]
    assert [mount for mount in mounts if mount["Name"] == f"{PROJECT}_run_policies"] == []


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_run_of_a_location_cannot_write_its_image_or_gain_privileges(stack: Stack, location: str) -> None:
    code = """
import pathlib
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(int(status["CapBnd"], 16), status["NoNewPrivs"])
pathlib.Path("/tmp/x").write_text("x")
try:
    pathlib.Path("/opt/dagster/x").write_text("x")
except OSError as error:
    print(error.strerror)
"""
    assert run_as(stack, location, code) == (0, "0 1\nRead-only file system\n")


def test_the_writer_of_a_policy_refuses_what_is_not_the_locations(stack: Stack) -> None:
    command = ("docker", "compose", "run", "--rm", "--no-deps", "-T", policy_service("dbt_location"))
    options = ("dbt_location", f"--image=dbt_location:{PROJECT}", "--volume=ingestion_location_credentials:/x")
    before = run_policy(stack, "dbt_location")
    ended = subprocess.run([*command, *options], env=stack.env, capture_output=True, text=True)
    assert ended.returncode == 1
    assert (
        "dbt_location_policy: --volume ingestion_location_credentials:/x: this volume is one of inges" in ended.stderr
    )
    assert run_policy(stack, "dbt_location") == before


@pytest.fixture
def without_policy(stack: Stack) -> Iterator[str]:
    """A location whose policy is gone."""
    location = "platform_location"
    recorder = ("docker", "compose", "run", "--rm", "--no-deps", "-T", policy_service(location))
    image = f"--image={location}:{PROJECT}"
    stack.command(*recorder, location, image, "--remove")
    yield location
    stack.command(*recorder, location, image)


def test_make_status_names_a_location_without_a_policy(stack: Stack, without_policy: str) -> None:
    good, screen = stack.status()
    verdict = f"needs a person: {without_policy} has no run policy, so none of its runs is launched; next: make up"
    assert (good, verdict in screen.splitlines()) == (False, True)
