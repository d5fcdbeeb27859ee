"""The live compose stack through failures: after each one the tables are right, and nobody had to help."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from ops import graphql
from ops.command import ROOT
from ops.rebuild import launch
from tests.independent import RightAnswers
from tests.stack.backfill import DAILY_ASSETS, MONTHLY_ASSETS, MONTHS, RUNS_OF_A_MONTH, build_missing
from tests.stack.conftest import PROJECT, Stack
from tests.stack.kills import coming_back, die, die_and_come_back, start_impatient
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
DAYS = {START: "2023-01-01", END: "2023-01-31"}


@pytest.fixture
def failing(project: Stack) -> Stack:
    """A stack with three of four months and their days in it, which detects lost runs and hanging services sooner."""
    start_impatient(project)
    project.once("three months", lambda: build_missing(project, metrics=False))
    return project


@contextlib.contextmanager
def mart_locked(stack: Stack, mart: str = "daily_metrics") -> Iterator[None]:
    """Holds a lock on a mart's table, so that whoever reads or builds it waits in the middle."""
    psql = ("docker", "compose", "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "warehouse", "-qtAc")
    lock = f"set application_name = 'holder'; begin; lock table analytics.{mart}; select pg_sleep(3600)"
    with subprocess.Popen([*psql, lock], cwd=ROOT, env=stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        held = f"select 1 as held from pg_locks where relation = 'analytics.{mart}'::regclass and granted"
        wait_for("the lock", 30, lambda: stack.query(held) or None)
        try:
            yield
        finally:
            end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'holder'"
            stack.command(*psql, end)


def run_waits(stack: Stack, mart: str = "daily_metrics") -> None:
    """Waits until a run waits for the mart."""
    waiting = f"select 1 as waits from pg_locks where relation = 'analytics.{mart}'::regclass and not granted"
    wait_for("a run to wait for its table", 120, lambda: stack.query(waiting) or None)


def freeze(stack: Stack, service: str) -> None:
    """Stops all processes of a service but its init, so that it hears nothing, not even a SIGTERM.

    Those of its health check, which Docker started in a session of their own, continue.
    """
    container = stack.services()[service]["ID"]
    init = stack.inspect(container)[0]["State"]["Pid"]
    _, *lines = stack.command("docker", "top", container, "-o", "pid").splitlines()
    pids = [int(line) for line in lines if int(line) != init]
    for pid in pids:
        # A process of the check may have ended meanwhile.
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == os.getsid(init):
                os.kill(pid, signal.SIGSTOP)


def retried(stack: Stack, run_id: str) -> dict[str, Any]:
    """Waits until a lost run has failed, and for the end of the run that replaces it."""
    assert stack.webserver.finished(run_id)["status"] == "FAILURE"

    def look() -> str | None:
        retries = [run for run in stack.webserver.runs() if run["tags"].get("dagster/parent_run_id") == run_id]
        return retries[0]["runId"] if retries else None

    return stack.webserver.finished(wait_for(f"retry of run {run_id}", 120, look))


def test_a_run_that_is_killed_while_it_loads_is_retried(failing: Stack, right: RightAnswers) -> None:
    with failing.source_silent():
        run_id = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(run_id)
        die(failing, failing.run_container(run_id)["Id"])
    assert retried(failing, run_id)["status"] == "SUCCESS"
    failing.check_days(right)


def test_a_run_that_is_killed_while_dbt_builds_is_retried_and_gives_its_pool_back(
    failing: Stack, right: RightAnswers
) -> None:
    with mart_locked(failing):
        run_id = failing.webserver.launch("dbt_location", DAILY_ASSETS, **DAYS)
        run_waits(failing)
        die(failing, failing.run_container(run_id)["Id"])
    assert retried(failing, run_id)["status"] == "SUCCESS"
    assert failing.webserver.finished(failing.webserver.launch("dbt_location", ["stg_zones"]))["status"] == "SUCCESS"
    failing.check_days(right)


def test_a_run_whose_data_is_bad_is_not_retried(failing: Stack) -> None:
    # A day whose month was never loaded.
    run_id = failing.webserver.launch("dbt_location", DAILY_ASSETS, **{"dagster/partition": "2023-04-01"})
    assert failing.webserver.finished(run_id)["status"] == "FAILURE"
    # A later run that was retried has had its retry, so this one's would be there.
    with failing.source_silent():
        lost = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(lost)
        die(failing, failing.run_container(lost)["Id"])
    retried(failing, lost)
    assert [run for run in failing.webserver.runs() if run["tags"].get("dagster/parent_run_id") == run_id] == []


@pytest.mark.parametrize("service", ["ingestion_location", "webserver", "daemon"])
def test_a_service_that_dies_comes_back_and_the_run_in_flight_ends_well(
    failing: Stack, right: RightAnswers, service: str
) -> None:
    with failing.source_silent():
        run_id = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(run_id)
        die_and_come_back(failing, service)
    assert failing.webserver.finished(run_id)["status"] == "SUCCESS"
    failing.check_days(right)


def test_a_code_server_of_dbt_that_dies_comes_back_and_the_build_in_flight_ends_well(
    failing: Stack, right: RightAnswers
) -> None:
    with mart_locked(failing):
        run_id = failing.webserver.launch("dbt_location", DAILY_ASSETS, **DAYS)
        run_waits(failing)
        die_and_come_back(failing, "dbt_location")
    assert failing.webserver.finished(run_id)["status"] == "SUCCESS"
    failing.check_days(right)


# Printed by Dagster.
BACKFILL_WAITS = "The backfill will resume once it is available again."


@pytest.mark.release
def test_a_backfill_whose_daemon_dies_while_its_code_server_is_away_goes_on_and_does_each_month_once(
    failing: Stack, right: RightAnswers
) -> None:
    webserver = failing.webserver
    # Another test may have loaded a month again.
    build_missing(failing, metrics=False)
    months = [f"{month}-01" for month in MONTHS]
    # Asset by asset: Dagster would add April's report, which is made from March's tables, too.
    backfill = launch(graphql.Webserver(webserver.url), {asset: [(months[0], months[-1])] for asset in MONTHLY_ASSETS})

    def runs() -> list[dict[str, Any]]:
        return [run for run in webserver.runs() if run["tags"].get("dagster/backfill") == backfill]

    # The runs take turns, so one month is done then, one is being done, and one waits.
    wait_for("the first month", 240, lambda: [run for run in runs() if run["status"] == "SUCCESS"] or None)
    with mart_locked(failing, "location_metrics"):
        run_waits(failing, "location_metrics")
        with coming_back(failing, "dbt_location"):
            failing.command("docker", "compose", "stop", "dbt_location")
            die_and_come_back(failing, "daemon")
            log = ("docker", "compose", "logs", "daemon")
            wait_for("the backfill to wait", 120, lambda: BACKFILL_WAITS in failing.command(*log) or None)
            failing.command("docker", "compose", "start", "dbt_location")
    assert {run["status"] for run in webserver.backfill_runs(backfill, RUNS_OF_A_MONTH * len(months))} == {"SUCCESS"}
    assert sorted(run["tags"]["dagster/asset_partition_range_start"] for run in runs()) == sorted(
        RUNS_OF_A_MONTH * months
    )
    failing.check_months(right)


HANGING = ("daemon", "webserver", "ingestion_location", "dbt_location", "reports", "door")
PROXIES = ("docker-proxy", "housekeeping-proxy", "ingestion_location_gateway")
# Printed by services/health.yaml.
ENDED = "The health check failed 3 times in a row. The container is restarted."


@pytest.fixture
def queued_while_all_hung(failing: Stack) -> str:
    """A run that was queued when services and proxies hung; all of them are back."""

    def hang() -> str:
        with coming_back(failing, *HANGING, *PROXIES):
            freeze(failing, "daemon")
            run_id = failing.webserver.launch_month("2023-01-01")
            assert failing.webserver.run(run_id)["status"] == "QUEUED"
            for service in (*HANGING[1:], *PROXIES):
                freeze(failing, service)
        return run_id

    return failing.once("queued while all hung", hang)


def ended_by_their_checks(stack: Stack, *services: str) -> list[str]:
    """Those of the services that their own health check has ended."""
    return [service for service in services if ENDED in stack.command("docker", "compose", "logs", service)]


def test_services_that_hang_are_restarted_and_what_was_queued_gets_done(
    failing: Stack, right: RightAnswers, queued_while_all_hung: str
) -> None:
    assert ended_by_their_checks(failing, *HANGING) == [*HANGING]
    assert failing.webserver.finished(queued_while_all_hung)["status"] == "SUCCESS"
    failing.check_days(right)


def test_proxies_that_hang_are_restarted_and_runs_are_launched_through_them(
    failing: Stack, right: RightAnswers, queued_while_all_hung: str
) -> None:
    assert ended_by_their_checks(failing, *PROXIES) == [*PROXIES]
    assert failing.webserver.finished(failing.webserver.launch_month("2023-01-01"))["status"] == "SUCCESS"
    failing.check_days(right)


def test_the_daemon_is_not_restarted_while_postgres_is_away_and_works_afterwards(
    failing: Stack, right: RightAnswers
) -> None:
    (before,) = failing.inspect(failing.services()["daemon"]["ID"])

    def daemon_is(health: str) -> bool | None:
        return failing.inspect(before["Id"])[0]["State"]["Health"]["Status"] == health or None

    with failing.paused("postgres"):
        # Its check has failed as often as ends a daemon that hangs.
        wait_for("the daemon to be unhealthy", 300, lambda: daemon_is("unhealthy"))
    wait_for("the daemon to be healthy", 300, lambda: daemon_is("healthy"))
    (after,) = failing.inspect(before["Id"])
    assert after["State"]["StartedAt"] == before["State"]["StartedAt"]
    assert failing.webserver.finished(failing.webserver.launch_month("2023-01-01"))["status"] == "SUCCESS"
    failing.check_days(right)


def broken(stack: Stack) -> str:
    """Makes an image of dbt_location whose code cannot be imported, and returns its tag."""
    tag = f"{PROJECT}-broken"
    lines = (f"FROM dbt_location:{PROJECT}", "USER root", "RUN echo import nowhere >>src/dbt_location/definitions.py")
    build = ["docker", "build", "--quiet", "--tag", f"dbt_location:{tag}", "-"]
    subprocess.run(build, input="\n".join((*lines, "USER dagster")), text=True, check=True, capture_output=True)
    return tag


def load_of(stack: Stack, location: str) -> str:
    """What loading a location came to, as the UI shows it."""
    return str(stack.webserver.locations()[location]["__typename"])


def test_a_location_that_cannot_be_imported_holds_up_no_other_one_and_is_noticed_when_it_is_mended(
    failing: Stack, right: RightAnswers
) -> None:
    deploy = ("docker", "compose", "up", "--detach", "--no-deps", "--no-build", "dbt_location")
    tag = failing.env["DBT_LOCATION_TAG"]
    failing.env["DBT_LOCATION_TAG"] = broken(failing)
    try:
        failing.command(*deploy)
        # As after a reboot: neither has ever seen the location.
        with coming_back(failing, "webserver", "daemon"):
            failing.command("docker", "compose", "restart", "webserver", "daemon")
        assert load_of(failing, "dbt_location") == "PythonError"
        assert failing.webserver.finished(failing.webserver.launch_month("2023-01-01"))["status"] == "SUCCESS"
        assert "No module named 'nowhere'" in failing.command("docker", "compose", "logs", "dbt_location")
    finally:
        failing.env["DBT_LOCATION_TAG"] = tag
    before = failing.inspect(*(failing.services()[host]["ID"] for host in ("webserver", "daemon")))
    failing.command(*deploy)
    wait_for("the mended location", 120, lambda: load_of(failing, "dbt_location") == "RepositoryLocation" or None)
    run_id = failing.webserver.launch("dbt_location", DAILY_ASSETS, **DAYS)
    assert failing.webserver.finished(run_id)["status"] == "SUCCESS"
    after = failing.inspect(*(host["Id"] for host in before))
    assert [host["State"]["StartedAt"] for host in after] == [host["State"]["StartedAt"] for host in before]
    failing.check_days(right)


def test_after_a_reboot_what_was_asked_for_gets_done(failing: Stack, right: RightAnswers) -> None:
    with failing.source_silent():
        started = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(started)
        # Its container is started too, or it is still in the queue.
        queued = failing.webserver.launch_month("2023-01-01")
        die(failing, failing.run_container(started)["Id"])
    failing.kill()
    failing.up()
    assert failing.webserver.ended_well(started)
    assert failing.webserver.ended_well(queued)
    failing.check_days(right)


def test_postgres_that_dies_under_a_load_comes_back_and_the_month_gets_loaded(
    failing: Stack, right: RightAnswers
) -> None:
    with failing.source_silent():
        run_id = failing.webserver.launch_month("2023-01-01")
        failing.webserver.started(run_id)
        die_and_come_back(failing, "postgres")
    # The load continues after a short absence of Postgres; where its run is lost, a retry replaces it.
    assert failing.webserver.ended_well(run_id)
    failing.check_days(right)
