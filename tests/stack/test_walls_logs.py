"""What runs print: out of reach of other locations, and shown whatever a run leaves in place of its log."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from ops.locations import LOCATIONS
from tests.stack.attacker import run_as
from tests.stack.conftest import PROJECT, Stack
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill

FOLDER = "/opt/dagster/compute_logs"
MIB = 2**20

# Arguments: for each run of another location, its path below FOLDER and the location.
TOUCH_OTHERS = """
import shutil, sys, urllib.request
from pathlib import Path

folder = Path("/opt/dagster/compute_logs")
for argument in sys.argv[1:]:
    path, location = argument.split("@")
    log, run = folder / path, folder / path.split("/")[0]
    if run.exists():
        print("saw", run)
    for host in ("postgres", location, f"{location}_gateway"):
        try:
            print("read", urllib.request.urlopen(f"http://{host}:8080/{path}", timeout=5).read())
        except OSError:
            pass
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("forged")
    shutil.rmtree(run)
"""

# Argument: a run of this location.
PLANT = """
import os, sys
from pathlib import Path

folder = Path("/opt/dagster/compute_logs", sys.argv[1], "compute_logs")
os.chdir(folder)
os.symlink("/etc/passwd", "passwd.err")
os.symlink("../../../../../etc/passwd", "upwards.err")
os.symlink("/proc/1/environ", "environ.err")
os.symlink("/dev/zero", "device.err")
os.symlink("/", "root")
os.mkfifo("fifo.err")
os.mkdir("folder.err")
Path("sparse.err").touch()
os.truncate("sparse.err", 2**40)
"""
PLANTED = ("passwd", "upwards", "environ", "device", "fifo", "folder")


@pytest.fixture
def printed(stack: Stack) -> dict[str, str]:
    """A run of each of two locations; both have printed something."""

    def launch() -> dict[str, str]:
        prune = {"ops": {"prune_old_events": {"config": {"dry_run": True}}}}
        runs = {
            "ingestion_location": stack.webserver.launch("ingestion_location", ["taxi_zones"]),
            "platform_location": stack.webserver.launch_job("platform_location", "prune_run_history", prune),
        }
        for run_id in runs.values():
            assert stack.webserver.finished(run_id)["status"] == "SUCCESS"
        return runs

    return stack.once("printed", launch)


def captured(stack: Stack, *log_key: str) -> str | None:
    """The stderr of a log as the UI shows it; None if there is none."""
    query = "query ($key: [String!]!) { capturedLogs(logKey: $key) { stderr } }"
    stderr: str | None = stack.webserver.ask(query, key=list(log_key))["capturedLogs"]["stderr"]
    return stderr


def download(stack: Stack, *log_key: str) -> bytes | None:
    """The stderr of a log as the UI lets one download it; None if there is none."""
    try:
        with urllib.request.urlopen(f"{stack.webserver.url}/logs/{'/'.join(log_key)}/err", timeout=180) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_run_can_neither_see_nor_change_what_runs_of_other_locations_print(
    stack: Stack, printed: dict[str, str], location: str
) -> None:
    others = {other: run_id for other, run_id in printed.items() if other != location}
    before = {run_id: stack.webserver.stderr(run_id) for run_id in others.values()}
    paths = [f"{'/'.join(stack.webserver.log_key(run_id))}.err@{other}" for other, run_id in others.items()]
    assert run_as(stack, location, TOUCH_OTHERS, *paths) == (0, "")
    assert {run_id: stack.webserver.stderr(run_id) for run_id in others.values()} == before
    assert all("STEP_SUCCESS" in log for log in before.values())


@pytest.fixture
def planted(stack: Stack, printed: dict[str, str]) -> str:
    """A run beside whose log its location has put links, a FIFO, a folder and an endless file."""

    def plant() -> str:
        run_id = printed["ingestion_location"]
        assert run_as(stack, "ingestion_location", PLANT, run_id) == (0, "")
        return run_id

    return stack.once("planted", plant)


@pytest.mark.parametrize("key", PLANTED)
def test_what_a_run_leaves_in_place_of_its_log_leads_nowhere_and_holds_nothing_up(
    stack: Stack, printed: dict[str, str], planted: str, key: str
) -> None:
    assert captured(stack, planted, "compute_logs", key) is None
    assert download(stack, planted, "compute_logs", key) is None
    assert "STEP_SUCCESS" in stack.webserver.stderr(printed["platform_location"])


@pytest.mark.parametrize("name", ["compute_logs/../../../../etc/passwd", "compute_logs/root/etc/passwd", ".."])
def test_a_log_is_not_asked_for_by_another_path(stack: Stack, planted: str, name: str) -> None:
    assert captured(stack, planted, *name.split("/")) is None


def test_of_an_endless_log_the_first_part_is_shown_and_downloaded(stack: Stack, planted: str) -> None:
    shown = captured(stack, planted, "compute_logs", "sparse")
    assert shown == "\0" * MIB
    content = download(stack, planted, "compute_logs", "sparse")
    assert content == b"\0" * 50 * MIB + b"\n[Only the first 50 MiB are shown.]\n"


def test_a_log_is_downloaded_as_it_is_shown(stack: Stack, printed: dict[str, str]) -> None:
    run_id = printed["ingestion_location"]
    content = download(stack, *stack.webserver.log_key(run_id))
    assert content is not None
    assert content.decode() == stack.webserver.stderr(run_id)


@contextmanager
def view(stack: Stack, log_key: list[str]) -> Iterator[Any]:
    """A view of a log as the UI opens it: a connection on which its parts arrive."""
    url = f"ws{stack.webserver.url.removeprefix('http')}/graphql"
    query = "subscription ($key: [String!]!) { capturedLogs(logKey: $key) { stderr } }"
    with connect(url, subprotocols=["graphql-ws"]) as connection:  # type: ignore[list-item]
        connection.send(json.dumps({"type": "connection_init", "payload": {}}))
        start = {"query": query, "variables": {"key": log_key}}
        connection.send(json.dumps({"type": "start", "id": "1", "payload": start}))
        yield connection


def read_until(connection: Any, text: str) -> None:
    """Waits until a part of the log with a text arrives."""

    def look() -> bool | None:
        message = json.loads(connection.recv(timeout=30))
        return text in json.dumps(message) or None

    wait_for(f"{text!r} in the log", 60, look)


# Arguments: the path of a log, and a line for it.
APPEND = """
import sys
with open("/opt/dagster/compute_logs/" + sys.argv[1], "a") as log:
    log.write(sys.argv[2] + "\\n")
"""


def test_a_log_is_shown_while_its_run_goes_on_also_after_its_gateway_was_away(stack: Stack) -> None:
    gateway = "ingestion_location_gateway"
    with stack.source_silent():
        run_id = stack.webserver.launch("ingestion_location", ["taxi_zones"])
        try:
            stack.webserver.step_started(run_id)
            log_key = stack.webserver.log_key(run_id)
            with view(stack, log_key) as connection:
                read_until(connection, "STEP_START")
                stack.command("docker", "compose", "stop", "--timeout", "1", gateway)
                away = captured(stack, *log_key)
                assert away is not None
                assert "the gateway of ingestion_location does not serve it" in away
                assert stack.webserver.status(run_id) == "STARTED"
                stack.command("docker", "compose", "up", "--detach", "--wait", "--no-deps", gateway)
                path = f"{'/'.join(log_key)}.err"
                assert run_as(stack, "ingestion_location", APPEND, path, "a line after the gateway came back") == (
                    0,
                    "",
                )
                read_until(connection, "a line after the gateway came back")
        finally:
            stack.webserver.terminate(run_id)
            stack.webserver.finished(run_id)


def test_a_gateway_deletes_logs_when_they_are_old_and_not_before(stack: Stack) -> None:
    name = f"{PROJECT}_old_logs"
    make = """
    cd /opt/dagster/compute_logs
    for run in old young locked; do mkdir -p $run/compute_logs/deep/er; touch $run/compute_logs/step.err; done
    ln -s /etc/passwd old/compute_logs/link
    touch -d '31 days ago' old/compute_logs locked/compute_logs
    touch -d '29 days ago' young/compute_logs young
    chmod 0 locked/compute_logs
    """
    run = ("docker", "run", "--user=10001", f"--volume={name}:{FOLDER}", f"--name={name}", "--env=HISTORY_DAYS=30")
    image = f"proxies:{PROJECT}"
    try:
        stack.command(*run, image, "sh", "-ec", make)
        stack.command("docker", "rm", name)
        gateway = ("haproxy", "-W", "-db", "-f", "/etc/haproxy/compute_logs.cfg")
        stack.command(*run, "--env=HOUSEKEEPING=on", "--read-only", "--cap-drop=ALL", "--detach", image, *gateway)

        def left() -> set[str]:
            return set(stack.command("docker", "exec", name, "ls", FOLDER).split())

        wait_for("the old log is deleted", 30, lambda: "old" not in left() or None)
        assert left() == {"young", "locked"}
        assert stack.command("docker", "exec", name, "grep", "-c", "root", "/etc/passwd")
    finally:
        stack.command("docker", "rm", "--force", name)
        stack.command("docker", "volume", "rm", "--force", name)
