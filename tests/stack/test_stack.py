"""The live compose stack, from `docker compose up` to `make destroy`."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from ops.command import ROOT
from ops.locations import DATA_LOCATIONS, LOCATIONS
from tests import warehouse_answers
from tests.independent import RightAnswers
from tests.stack.backfill import (
    BUILT,
    DAILY_ASSETS,
    DAYS,
    MONTHLY_ASSETS,
    MONTHS,
    RUNS_OF_A_MONTH,
    build_missing,
    built,
)
from tests.stack.conftest import ONE_SHOTS, PROJECT, Stack
from tests.stack.webserver import wait_for


@pytest.fixture
def loads(stack: Stack) -> list[dict[str, Any]]:
    """The runs that load the zones and the three months, all launched at once, each with its container."""

    def load() -> list[dict[str, Any]]:
        run_ids = [stack.webserver.launch("ingestion_location", ["taxi_zones"])]
        run_ids += [stack.webserver.launch_month(f"{month}-01") for month in MONTHS]
        ended = [{"runId": run_id, **stack.webserver.finished(run_id)} for run_id in run_ids]
        return [{**run, "container": stack.run_container(run["runId"])} for run in ended]

    return stack.once("loads", load)


@pytest.fixture
def build(stack: Stack, loads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of a backfill of all ninety days, requested as the UI does, each with its container."""
    assert [load["status"] for load in loads] == ["SUCCESS"] * len(loads)

    def build() -> list[dict[str, Any]]:
        zones = stack.webserver.launch("dbt_location", ["stg_zones"])
        runs = stack.webserver.backfill_runs(stack.webserver.backfill(DAILY_ASSETS, DAYS))
        assert stack.webserver.finished(zones)["status"] == "SUCCESS"
        return [{**run, "container": stack.run_container(run["runId"])} for run in runs]

    return stack.once("build", build)


@pytest.fixture
def months(stack: Stack, build: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of a backfill of the metrics of all three months."""
    assert [run["status"] for run in build] == ["SUCCESS"]

    def backfill() -> list[dict[str, Any]]:
        requested = stack.webserver.backfill(MONTHLY_ASSETS, [f"{month}-01" for month in MONTHS])
        return stack.webserver.backfill_runs(requested, RUNS_OF_A_MONTH * len(MONTHS))

    return stack.once("months", backfill)


def test_every_service_is_healthy_and_the_one_shots_have_finished(stack: Stack) -> None:
    services = stack.services()
    health = {name: service["Health"] or service["State"] for name, service in services.items()}
    proxies = ("docker-proxy", "housekeeping-proxy", "alerts-proxy", *(f"{location}_gateway" for location in LOCATIONS))
    platform = ("postgres", "backups", "volume_backups", "webserver", "alerts", "door", "daemon")
    up = (*platform, *proxies, "sample", "reports", *LOCATIONS)
    assert health == {**dict.fromkeys(up, "healthy"), **dict.fromkeys(ONE_SHOTS, "exited")}
    assert [services[one_shot]["ExitCode"] for one_shot in ONE_SHOTS] == [0] * len(ONE_SHOTS)


def test_every_location_is_loaded_without_error(stack: Stack) -> None:
    loaded = {name: location["__typename"] for name, location in stack.webserver.locations().items()}
    assert loaded == dict.fromkeys(LOCATIONS, "RepositoryLocation")


def test_automation_and_housekeeping_that_are_switched_off_are_there_and_stopped(stack: Stack) -> None:
    sensors = {location: stack.webserver.sensors(location) for location in LOCATIONS}
    assert sensors == {
        "dbt_location": {"automatic_builds": "STOPPED"},
        "ingestion_location": {"new_trip_files": "STOPPED", "new_zone_files": "STOPPED"},
        "platform_location": {"reaper": "STOPPED"},
    }


def test_only_the_door_is_published_and_only_on_the_loopback_address(stack: Stack) -> None:
    published = [
        (name, port["URL"], port["TargetPort"])
        for name, service in stack.services().items()
        for port in service["Publishers"] or ()
        if port["PublishedPort"]
    ]
    assert sorted(published) == [("door", "127.0.0.1", 8080), ("door", "127.0.0.1", 8443)]


def test_the_file_server_says_that_there_are_no_reports_yet(project: Stack, stack: Stack) -> None:
    if stack.webserver.materialized_partitions("monthly_report"):
        project.destroy()
        project.start()
    status, page = stack.report("")
    assert (status, "No reports yet" in page) == (200, True)


def test_three_months_and_the_zones_load_at_once(loads: list[dict[str, Any]]) -> None:
    assert [load["status"] for load in loads] == ["SUCCESS"] * 4


def test_ninety_days_are_one_run(build: list[dict[str, Any]]) -> None:
    assert [run["status"] for run in build] == ["SUCCESS"]


def test_the_warehouse_holds_what_an_independent_computation_says(
    stack: Stack, build: list[dict[str, Any]], right: RightAnswers
) -> None:
    assert build
    stack.check_days(right)


def test_the_metrics_of_each_month_and_its_report_are_runs_of_their_own(months: list[dict[str, Any]]) -> None:
    assert [run["status"] for run in months] == ["SUCCESS"] * RUNS_OF_A_MONTH * len(MONTHS)


def test_the_metrics_of_the_months_are_what_an_independent_computation_says(
    stack: Stack, months: list[dict[str, Any]], right: RightAnswers
) -> None:
    assert months
    stack.check_months(right)


def test_a_months_report_is_served_where_its_asset_links_to(stack: Stack, months: list[dict[str, Any]]) -> None:
    assert months
    url = stack.webserver.metadata_url("monthly_report", "2023-02-01", "report")
    assert url == f"http://127.0.0.1:{stack.port}/reports/dbt_location/2023-02.html"
    status, page = stack.report("2023-02.html")
    assert (status, "Taxi trips, February 2023" in page, "Compared with January 2023." in page) == (200, True, True)


def test_the_index_of_the_reports_lists_every_month(stack: Stack, months: list[dict[str, Any]]) -> None:
    assert months
    status, page = stack.report("")
    assert (status, [month for month in MONTHS if f'href="{month}.html"' in page]) == (200, list(MONTHS))


def test_the_file_server_serves_nothing_else_of_its_folder(stack: Stack, months: list[dict[str, Any]]) -> None:
    assert months
    assert ".lock" in stack.command("docker", "compose", "exec", "-T", "reports", "ls", "-a", "/srv/reports").split()
    assert stack.report(".lock")[0] == 404


def test_the_file_server_can_write_nothing_and_has_no_passwords(stack: Stack) -> None:
    (container,) = stack.inspect(stack.services()["reports"]["ID"])
    assert container["HostConfig"]["ReadonlyRootfs"]
    assert [(mount["Name"], mount["RW"]) for mount in container["Mounts"] if mount["Type"] == "volume"] == [
        (f"{PROJECT}_dbt_location_reports", False)
    ]
    assert list(container["NetworkSettings"]["Networks"]) == [f"{PROJECT}_dbt_location"]


def test_the_ui_shows_every_partition_as_materialized(stack: Stack, build: list[dict[str, Any]]) -> None:
    assert build
    shown = {asset: stack.webserver.materialized_partitions(asset) for asset in ("taxi_trips", *DAILY_ASSETS)}
    assert shown == {"taxi_trips": 3, **dict.fromkeys(DAILY_ASSETS, 90)}


def test_each_run_is_a_container_of_its_locations_image(
    loads: list[dict[str, Any]], build: list[dict[str, Any]]
) -> None:
    images = [run["container"]["Config"]["Image"] for run in [*loads, *build]]
    assert images == [f"ingestion_location:{PROJECT}"] * 4 + [f"dbt_location:{PROJECT}"]


@pytest.mark.parametrize("location", DATA_LOCATIONS)
def test_a_runs_container_carries_the_passwords_of_its_own_location_only(
    stack: Stack, loads: list[dict[str, Any]], build: list[dict[str, Any]], location: str
) -> None:
    container = {"ingestion_location": loads[1], "dbt_location": build[0]}[location]["container"]
    volumes = {mount["Name"] for mount in container["Mounts"]}
    passwords = all_passwords(stack)
    reports = {f"{PROJECT}_dbt_location_reports"} if location == "dbt_location" else set()
    own = {f"{PROJECT}_{location}_{name}" for name in ("credentials", "secrets", "compute_logs")}
    assert volumes == own | reports
    assert set(passwords_in(stack, location)) == {location}
    assert [role for role, password in passwords.items() if password in json.dumps(container)] == []


def all_passwords(stack: Stack) -> dict[str, str]:
    """Role and password, of all roles."""
    services = (*LOCATIONS, "webserver")
    return {role: password for service in services for role, password in passwords_in(stack, service).items()}


def passwords_in(stack: Stack, service: str) -> dict[str, str]:
    """Role and password, as the service's password file has them."""
    content = stack.command("docker", "compose", "exec", "-T", service, "cat", "/run/credentials/pgpass")
    return {line.split(":")[3]: line.split(":")[4] for line in content.splitlines()}


@pytest.mark.parametrize(
    ("location", "statement"),
    [
        ("dbt_location", "insert into raw_taxis.zones values (999, 'x', 'x', 'x')"),
        ("dbt_location", "create table raw_taxis.mine (id int)"),
        ("dbt_location", "drop table raw_taxis.trips"),
        ("ingestion_location", "select count(*) from analytics.daily_metrics"),
        ("ingestion_location", "create table metrics.mine (id int)"),
        ("ingestion_location", "create schema mine"),
    ],
)
def test_a_locations_role_is_refused_what_its_work_does_not_need(
    stack: Stack, build: list[dict[str, Any]], location: str, statement: str
) -> None:
    assert build
    with pytest.raises(AssertionError, match=r"permission denied|must be owner"):
        as_role(stack, location, location, "warehouse", statement)


def test_the_platforms_location_has_its_own_password_alone_and_no_way_into_the_warehouse(stack: Stack) -> None:
    assert set(passwords_in(stack, "platform_location")) == {"platform_location"}
    with pytest.raises(AssertionError, match=r"no password supplied|permission denied"):
        as_role(stack, "platform_location", "platform_location", "warehouse", "select 1")


@pytest.mark.parametrize("location", LOCATIONS)
def test_no_location_can_log_in_as_superuser(stack: Stack, location: str) -> None:
    with pytest.raises(AssertionError, match="no password supplied"):
        as_role(stack, location, "postgres", "warehouse", "select 1")


def as_role(stack: Stack, location: str, role: str, database: str, statement: str) -> None:
    """Runs a statement from a location's container, with the passwords that are there."""
    code = "import psycopg2, sys; c = psycopg2.connect(host='postgres', user=sys.argv[1], dbname=sys.argv[2])"
    code += "; c.cursor().execute(sys.argv[3])"
    stack.command("docker", "compose", "exec", "-T", location, "python", "-c", code, role, database, statement)


@pytest.mark.parametrize(
    ("location", "other", "foreign"),
    [("ingestion_location", "dbt_location", "dbt"), ("dbt_location", "ingestion_location", "pyarrow")],
)
def test_a_locations_image_has_neither_code_nor_packages_of_the_other(
    stack: Stack, location: str, other: str, foreign: str
) -> None:
    code = f"import importlib.util as u; print([n for n in ('{other}', '{foreign}', 'tests') if u.find_spec(n)])"
    assert stack.command("docker", "run", "--rm", f"{location}:{PROJECT}", "python", "-c", code) == "[]\n"


def test_make_build_location_makes_an_image_that_has_the_location(stack: Stack) -> None:
    tag = f"{PROJECT}-by-hand"
    stack.command("make", "build-location", "NAME=platform_location", f"TAG={tag}")
    image = f"platform_location:{tag}"
    try:
        code = "import platform_location; print(platform_location.__name__)"
        assert stack.command("docker", "run", "--rm", image, "python", "-c", code) == "platform_location\n"
    finally:
        stack.command("docker", "image", "rm", image)


@pytest.mark.parametrize(
    ("location", "setting", "message"),
    [
        ("ingestion_location", "TLC_TAXI_TYPE=blue", "TLC_TAXI_TYPE='blue' is not a taxi type. Set it to yellow or"),
        ("dbt_location", "TAXI_END_DATE=2022-01-01", "TAXI_END_DATE=2022-01-01 is not after TAXI_START_DATE=2023-01-0"),
    ],
)
def test_a_wrong_setting_ends_a_locations_start_with_its_message_alone(
    stack: Stack, location: str, setting: str, message: str
) -> None:
    command = ["docker", "run", "--rm", "--env", setting, f"{location}:{PROJECT}"]
    started = subprocess.run(command, capture_output=True, text=True, env=stack.env)
    assert started.returncode == 1
    assert started.stderr.startswith(f"{location}: {message}")
    assert len(started.stderr.splitlines()) == 1


@pytest.mark.parametrize("service", ["webserver", "daemon", "reports", *LOCATIONS])
def test_a_service_does_not_run_as_root(stack: Stack, service: str) -> None:
    assert stack.command("docker", "compose", "exec", "-T", service, "id", "-un") == "dagster\n"


@pytest.fixture
def up_to_date(stack: Stack) -> Stack:
    """The stack with everything built and nothing failed since."""
    build_missing(stack)
    return stack


def test_the_status_of_a_stack_that_has_built_everything_needs_nobody(up_to_date: Stack) -> None:
    def screen() -> str | None:
        good, printed = up_to_date.status()
        return printed if good else None

    # On a busy machine a health check may be late.
    lines = wait_for("a status that needs nobody", 120, screen).splitlines()
    assert (lines[-1], [line for line in lines if len(line) > 100]) == ("nothing needs a person", [])


def test_the_status_as_json_has_every_partition(up_to_date: Stack) -> None:
    counts = {asset["key"]: asset["counts"] for asset in json.loads(up_to_date.status("FORMAT=json")[1])["assets"]}
    assert {asset: counts[asset] for asset in BUILT} == {asset: {"built": number} for asset, number in BUILT.items()}


@pytest.mark.parametrize("service", ["daemon", "webserver"])
def test_the_status_names_a_service_that_is_frozen(stack: Stack, service: str) -> None:
    with stack.paused(service):
        good, screen = stack.status()
    verdict = f"needs a person: {service} is paused; next: docker compose unpause {service}"
    assert (good, verdict in screen.splitlines()) == (False, True)


def test_the_status_names_a_service_that_was_killed(stack: Stack) -> None:
    stack.command("docker", "compose", "kill", "reports")
    try:
        good, screen = stack.status()
    finally:
        stack.command("docker", "compose", "up", "-d", "--wait", "--no-deps", "reports")
    (verdict,) = [line for line in screen.splitlines() if line.startswith("needs a person: reports ")]
    assert (good, verdict.endswith("next: docker compose start reports")) == (False, True)


def test_the_status_says_that_there_is_no_engine(stack: Stack) -> None:
    command = ["make", "--no-print-directory", "status"]
    env = {**stack.env, "DOCKER_HOST": "unix:///nowhere.sock"}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "Cannot connect to the Docker daemon at unix:///nowhere.sock" in ended.stdout
    assert ended.stdout.splitlines()[-1].endswith("; next: start Docker")


@pytest.fixture
def missing_month(stack: Stack, build: list[dict[str, Any]]) -> dict[str, Any]:
    """A run that failed since the source lacked its month, with the months before and after it."""
    assert build

    def load() -> dict[str, Any]:
        before = stack.query(warehouse_answers.MONTHS)
        path = "files/trip-data/yellow_tripdata_2023-03.parquet"
        stack.command("docker", "compose", "exec", "-T", "sample", "mv", path, "files/away")
        try:
            run = stack.webserver.finished(stack.webserver.launch_month("2023-03-01"))
        finally:
            stack.command("docker", "compose", "exec", "-T", "sample", "mv", "files/away", path)
        return {**run, "before": before, "after": stack.query(warehouse_answers.MONTHS)}

    # A later load of the month would end its failure.
    if built(stack)["taxi_trips"] == len(MONTHS):
        stack.forget("missing month")
    return stack.once("missing month", load)


def test_a_month_that_the_source_lacks_fails_with_its_url_and_leaves_the_others(missing_month: dict[str, Any]) -> None:
    (failure,) = [event for event in missing_month["eventConnection"]["events"] if event.get("failureMetadata")]
    url = "http://sample:8000/trip-data/yellow_tripdata_2023-03.parquet"
    assert failure["failureMetadata"]["description"].startswith(f"{url}: the source does not have this file (HTTP 404)")
    assert missing_month["after"] == missing_month["before"]


def test_the_status_names_the_month_that_failed_and_why(stack: Stack, missing_month: dict[str, Any]) -> None:
    good, screen = stack.status()
    lines = [line.strip() for line in screen.splitlines()]
    verdict = "needs a person: taxi_trips 2023-03-01 failed; next: see its run above, then launch it again"
    assert (good, verdict in lines) == (False, True)
    place = next(n for n, line in enumerate(lines) if line.startswith("taxi_trips 2023-03-01 (ingestion_location), "))
    assert lines[place + 1].startswith("http://sample:8000/trip-data/yellow_tripdata_2023-03.parquet: the source does")
    run_link = f"{stack.webserver.url}/runs/"
    assert [line for line in lines[place:] if line.startswith(run_link)] != []


def test_a_run_can_be_terminated_from_the_ui(stack: Stack) -> None:
    with stack.source_silent():
        run_id = stack.webserver.launch_month("2023-01-01")
        stack.webserver.started(run_id)
        stack.webserver.terminate(run_id)
        assert stack.webserver.finished(run_id)["status"] == "CANCELED"


def test_what_a_run_printed_is_readable_after_its_container_is_gone(stack: Stack, loads: list[dict[str, Any]]) -> None:
    run_id = loads[1]["runId"]
    stack.command("docker", "rm", "--force", loads[1]["container"]["Id"])
    assert "yellow_tripdata_2023-01.parquet" in stack.webserver.stderr(run_id)


def test_data_and_run_history_survive_down_and_up(stack: Stack, months: list[dict[str, Any]]) -> None:
    assert months

    def kept() -> tuple[Any, ...]:
        rows = stack.query(warehouse_answers.DAILY_METRICS)
        return rows, stack.webserver.run_count(), all_passwords(stack), stack.report("2023-01.html")

    before = kept()
    stack.down()
    assert stack.services() == {}
    stack.start()
    stack.once("restarted", lambda: True)
    assert kept() == before
    assert stack.webserver.materialized_partitions("daily_metrics") == 90


def test_a_restarted_stack_loads_a_month(stack: Stack) -> None:
    def restart() -> bool:
        stack.down()
        stack.start()
        return True

    stack.once("restarted", restart)
    assert stack.webserver.finished(stack.webserver.launch_month("2023-02-01"))["status"] == "SUCCESS"


def test_the_status_names_what_is_older_than_the_month_that_was_loaded_again(
    stack: Stack, months: list[dict[str, Any]]
) -> None:
    assert months
    assert stack.webserver.finished(stack.webserver.launch_month("2023-02-01"))["status"] == "SUCCESS"
    good, answer = stack.status("FORMAT=json")
    found = json.loads(answer)
    stale = {asset["key"]: asset["ranges"].get("stale") for asset in found["assets"]}
    february = {
        **{asset: [["2023-02-01", "2023-02-28"]] for asset in DAILY_ASSETS},
        **{asset: [["2023-02-01", "2023-02-01"]] for asset in MONTHLY_ASSETS},
    }
    assert {asset: stale[asset] for asset in february} == february
    outdated = [problem["what"] for problem in found["needs_a_person"] if problem["kind"] == "stale"]
    # The metrics wait for the days.
    assert (good, [what.split(" 2023")[0].split(", ") for what in outdated]) == (False, [DAILY_ASSETS])


def test_destroy_leaves_nothing_behind(stack: Stack) -> None:
    stack.destroy()
    left = [
        stack.command("docker", kind, "ls", "--quiet", *every, "--filter", f"name={PROJECT}").split()
        for kind, every in (("container", ["--all"]), ("volume", []), ("network", []))
    ]
    runs = stack.command("docker", "ps", "--all", "--quiet", "--filter", f"label=project={PROJECT}").split()
    assert (left, runs) == ([[], [], []], [])


def test_the_status_of_a_stack_that_is_down_says_so(project: Stack) -> None:
    project.destroy()
    good, screen = project.status()
    assert (good, screen.splitlines()[-1]) == (False, f"needs a person: the stack {PROJECT} is not up; next: make up")


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_a_program_reads_what_needs_a_person(project: Stack) -> None:
    project.destroy()
    (kind,) = json.loads(
        project.command("bash", "-c", "make --silent status FORMAT=json | jq '.needs_a_person' | jq 'map(.kind)'")
    )
    assert kind == "stack"
