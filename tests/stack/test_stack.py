"""The live compose stack, from `docker compose up` to `make destroy`; the tests build on one another, in this order."""

import json
import subprocess
from datetime import date, timedelta
from typing import Any

import pytest

from ops.command import ROOT
from ops.locations import DATA_LOCATIONS, LOCATIONS
from tests import warehouse_answers
from tests.independent import RightAnswers
from tests.stack.conftest import PROJECT, Stack
from tests.stack.webserver import wait_for

MONTHS = ("2023-01", "2023-02", "2023-03")
DAYS = [f"{date(2023, 1, 1) + timedelta(days=day)}" for day in range(90)]
DAILY_ASSETS = ["stg_trips", "daily_metrics", "location_metrics", "manhattan_stats"]
MONTHLY_ASSETS = ["zone_map", "borough_flows", "monthly_report"]


@pytest.fixture(scope="module")
def right(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> RightAnswers:
    return stack.right_answers(tmp_path_factory.mktemp("sample"), *MONTHS)


@pytest.fixture(scope="module")
def loads(stack: Stack) -> list[dict[str, Any]]:
    """The runs that load the zones and the three months, all launched at once."""
    run_ids = [stack.webserver.launch("ingestion_location", ["taxi_zones"])]
    run_ids += [stack.webserver.launch_month(f"{month}-01") for month in MONTHS]
    return [{**stack.webserver.finished(run_id), "id": run_id} for run_id in run_ids]


@pytest.fixture(scope="module")
def build(stack: Stack, loads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs that come of asking for the zones' model and for all ninety days as the UI does."""
    zones = stack.webserver.finished(stack.webserver.launch("dbt_location", ["stg_zones"]))
    assert zones["status"] == "SUCCESS"
    return stack.webserver.backfill_runs(stack.webserver.backfill(DAILY_ASSETS, DAYS))


@pytest.fixture(scope="module")
def months(stack: Stack, build: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs that come of asking for the metrics of all three months."""
    assert [run["status"] for run in build] == ["SUCCESS"]
    return stack.webserver.backfill_runs(
        stack.webserver.backfill(MONTHLY_ASSETS, [f"{month}-01" for month in MONTHS]), len(MONTHS)
    )


def test_every_service_is_healthy_and_the_one_shots_have_finished(stack: Stack) -> None:
    services = stack.services()
    health = {name: service["Health"] or service["State"] for name, service in services.items()}
    gateways = [f"{location}_gateway" for location in DATA_LOCATIONS]
    up = ("postgres", "webserver", "daemon", "docker-proxy", "sample", "reports", *LOCATIONS, *gateways)
    assert health == {**dict.fromkeys(up, "healthy"), "migrate": "exited", "workspace": "exited"}
    assert (services["migrate"]["ExitCode"], services["workspace"]["ExitCode"]) == (0, 0)


def test_every_location_is_loaded_without_error(stack: Stack) -> None:
    loaded = {name: location["__typename"] for name, location in stack.webserver.locations().items()}
    assert loaded == dict.fromkeys(LOCATIONS, "RepositoryLocation")


def test_automation_and_housekeeping_that_are_switched_off_are_there_and_stopped(stack: Stack) -> None:
    sensors = {location: stack.webserver.sensors(location) for location in LOCATIONS}
    assert sensors == {
        "dbt_location": {"automatic_builds": "STOPPED"},
        "ingestion_location": {"new_trip_files": "STOPPED", "new_zone_files": "STOPPED"},
        "platform_location": {"notify_run_failure": "RUNNING", "reaper": "STOPPED"},
    }


def test_only_webserver_and_reports_are_published_and_only_on_the_loopback_address(stack: Stack) -> None:
    published = [
        (name, port["URL"], port["PublishedPort"])
        for name, service in stack.services().items()
        for port in service["Publishers"] or ()
        if port["PublishedPort"]
    ]
    assert sorted(published) == [
        ("reports", "127.0.0.1", stack.reports_port),
        ("webserver", "127.0.0.1", stack.port),
    ]


def test_the_file_server_says_that_there_are_no_reports_yet(stack: Stack) -> None:
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


def test_the_metrics_of_each_month_are_a_run_of_their_own(months: list[dict[str, Any]]) -> None:
    assert [run["status"] for run in months] == ["SUCCESS"] * len(MONTHS)


def test_the_metrics_of_the_months_are_what_an_independent_computation_says(
    stack: Stack, months: list[dict[str, Any]], right: RightAnswers
) -> None:
    assert months
    stack.check_months(right)


def test_a_months_report_is_served_where_its_asset_links_to(stack: Stack, months: list[dict[str, Any]]) -> None:
    assert months
    url = stack.webserver.metadata_url("monthly_report", "2023-02-01", "report")
    assert url == f"http://127.0.0.1:{stack.reports_port}/2023-02.html"
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
    assert list(container["NetworkSettings"]["Networks"]) == [f"{PROJECT}_reports"]


def test_the_ui_shows_every_partition_as_materialized(stack: Stack, build: list[dict[str, Any]]) -> None:
    assert build
    shown = {asset: stack.webserver.materialized_partitions(asset) for asset in ("taxi_trips", *DAILY_ASSETS)}
    assert shown == {"taxi_trips": 3, **dict.fromkeys(DAILY_ASSETS, 90)}


def test_each_run_is_a_container_of_its_locations_image(
    stack: Stack, loads: list[dict[str, Any]], build: list[dict[str, Any]]
) -> None:
    images = [stack.run_container(load["id"])["Config"]["Image"] for load in loads]
    images += [stack.run_container(run["runId"])["Config"]["Image"] for run in build]
    assert images == [f"ingestion_location:{PROJECT}"] * 4 + [f"dbt_location:{PROJECT}"]


@pytest.mark.parametrize("location", DATA_LOCATIONS)
def test_a_runs_container_carries_the_passwords_of_its_own_location_only(
    stack: Stack, loads: list[dict[str, Any]], build: list[dict[str, Any]], location: str
) -> None:
    run_id = {"ingestion_location": loads[1]["id"], "dbt_location": build[0]["runId"]}[location]
    container = stack.run_container(run_id)
    volumes = {mount["Name"] for mount in container["Mounts"]}
    passwords = all_passwords(stack)
    reports = {f"{PROJECT}_dbt_location_reports"} if location == "dbt_location" else set()
    assert volumes == {f"{PROJECT}_{location}_credentials", f"{PROJECT}_compute_logs", *reports}
    assert set(passwords_in(stack, location)) == {"dagster", location}
    assert [role for role, password in passwords.items() if password in json.dumps(container)] == []


def all_passwords(stack: Stack) -> dict[str, str]:
    """Role and password, of all roles."""
    return {role: password for location in LOCATIONS for role, password in passwords_in(stack, location).items()}


def passwords_in(stack: Stack, location: str) -> dict[str, str]:
    """Role and password, as the location's password file has them."""
    content = stack.command("docker", "compose", "exec", "-T", location, "cat", "/run/credentials/pgpass")
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


@pytest.mark.parametrize(("location", "database"), [(location, "dagster") for location in DATA_LOCATIONS])
def test_a_locations_role_may_not_enter_the_instances_database(stack: Stack, location: str, database: str) -> None:
    with pytest.raises(AssertionError, match=r"no password supplied|permission denied"):
        as_role(stack, location, location, database, "select 1")


def test_the_platforms_location_has_the_instances_password_alone_and_no_way_into_the_warehouse(stack: Stack) -> None:
    assert set(passwords_in(stack, "platform_location")) == {"dagster"}
    with pytest.raises(AssertionError, match=r"no password supplied|permission denied"):
        as_role(stack, "platform_location", "dagster", "warehouse", "select 1")


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


# Prints those of the addresses that take a connection, all tried at once.
REACH = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def reached(address):
    try:
        return socket.create_connection((address, 4000), 3)
    except OSError:
        return None
addresses = sys.argv[1:]
print(*[a for a, c in zip(addresses, ThreadPoolExecutor(8).map(reached, addresses)) if c])
"""


def addresses(stack: Stack, *services: str) -> list[str]:
    containers = stack.inspect(*[stack.services()[service]["ID"] for service in services])
    networks = [network for each in containers for network in each["NetworkSettings"]["Networks"].values()]
    return [network["IPAddress"] for network in networks]


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_location_cannot_reach_the_other_ones_networks(stack: Stack, location: str) -> None:
    others = addresses(stack, *(other for other in LOCATIONS if other != location))
    own = addresses(stack, location)
    reached = stack.command("docker", "compose", "exec", "-T", location, "python", "-c", REACH, *own, *others)
    assert reached.split() == own


@pytest.mark.parametrize("location", DATA_LOCATIONS)
def test_a_locations_code_reaches_neither_the_webserver_nor_the_socket_of_the_engine(
    stack: Stack, location: str
) -> None:
    hosts = [("webserver", 3000), ("docker-proxy", 2375)]
    for service, port in list(hosts):
        (container,) = stack.inspect(stack.services()[service]["ID"])
        networks = container["NetworkSettings"]["Networks"].values()
        hosts += [(network["IPAddress"], port) for network in networks]
    code = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
    for host, port in hosts:
        with pytest.raises(AssertionError, match=r"gaierror|TimeoutError|timed out|No route|unreachable"):
            stack.command("docker", "compose", "exec", "-T", location, "python", "-c", code, host, str(port))


@pytest.mark.parametrize("service", ["webserver", "daemon", "reports", *LOCATIONS])
def test_a_service_does_not_run_as_root(stack: Stack, service: str) -> None:
    assert stack.command("docker", "compose", "exec", "-T", service, "id", "-un") == "dagster\n"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/containers/json"), ("POST", "/containers/x/exec"), ("DELETE", "/containers/x"), ("POST", "/build")],
)
def test_the_docker_proxy_refuses_what_launching_a_run_does_not_need(stack: Stack, method: str, path: str) -> None:
    code = (
        "import http.client, sys; c = http.client.HTTPConnection('docker-proxy', 2375);"
        "c.request(sys.argv[1], sys.argv[2]); print(c.getresponse().status)"
    )
    answer = stack.command("docker", "compose", "exec", "-T", "daemon", "python", "-c", code, method, path)
    assert answer == "403\n"


def needs_nobody(stack: Stack) -> str | None:
    """What `make status` prints where it finds that nothing needs a person."""
    good, screen = stack.status()
    return screen if good else None


def test_the_status_of_a_stack_that_has_built_everything_needs_nobody(
    stack: Stack, months: list[dict[str, Any]]
) -> None:
    assert months
    # A health check on a machine that is busy may come late.
    lines = wait_for("a status that needs nobody", 120, lambda: needs_nobody(stack)).splitlines()
    assert (lines[-1], [line for line in lines if len(line) > 100]) == ("nothing needs a person", [])


def test_the_status_as_json_has_every_partition(stack: Stack, months: list[dict[str, Any]]) -> None:
    assert months
    counts = {asset["key"]: asset["counts"] for asset in json.loads(stack.status("FORMAT=json")[1])["assets"]}
    built = {"taxi_trips": 3, **dict.fromkeys(DAILY_ASSETS, 90), **dict.fromkeys(MONTHLY_ASSETS, 3)}
    assert {asset: counts[asset] for asset in built} == {asset: {"built": number} for asset, number in built.items()}


@pytest.mark.parametrize("service", ["daemon", "webserver"])
def test_the_status_names_a_service_that_is_frozen(stack: Stack, build: list[dict[str, Any]], service: str) -> None:
    assert build
    stack.command("docker", "compose", "pause", service)
    try:
        good, screen = stack.status()
    finally:
        stack.command("docker", "compose", "unpause", service)
    verdict = f"needs a person: {service} is paused; next: docker compose unpause {service}"
    assert (good, verdict in screen.splitlines()) == (False, True)


def test_the_status_names_a_service_that_was_killed(stack: Stack, build: list[dict[str, Any]]) -> None:
    assert build
    stack.command("docker", "compose", "kill", "reports")
    try:
        good, screen = stack.status()
    finally:
        stack.command("docker", "compose", "up", "-d", "--build", "--wait", "--no-deps", "reports")
    (verdict,) = [line for line in screen.splitlines() if line.startswith("needs a person: reports ")]
    assert (good, verdict.endswith("next: docker compose start reports")) == (False, True)


def test_the_status_says_that_there_is_no_engine(stack: Stack) -> None:
    command = ["make", "--no-print-directory", "status"]
    env = {**stack.env, "DOCKER_HOST": "unix:///nowhere.sock"}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "Cannot connect to the Docker daemon at unix:///nowhere.sock" in ended.stdout
    assert ended.stdout.splitlines()[-1].endswith("; next: start Docker")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/containers/json", 200),
        ("DELETE", "/containers/no-such-container", 404),
        ("DELETE", "/containers/no-such-container?force=1", 403),
        ("DELETE", "/containers/no-such-container?%66orce=1", 403),
        ("DELETE", "/images/no-such-image", 403),
        ("POST", "/containers/create", 403),
        ("POST", "/containers/x/kill", 403),
        ("POST", "/containers/x/stop", 403),
        ("POST", "/containers/x/restart", 403),
        ("GET", "/containers/x/archive", 403),
    ],
)
def test_the_docker_proxys_port_for_housekeeping_lets_through_what_that_needs(
    stack: Stack, method: str, path: str, status: int
) -> None:
    code = (
        "import http.client, sys; c = http.client.HTTPConnection('docker-proxy', 2376);"
        "c.request(sys.argv[1], sys.argv[2]); print(c.getresponse().status)"
    )
    answer = stack.command("docker", "compose", "exec", "-T", "platform_location", "python", "-c", code, method, path)
    assert answer == f"{status}\n"


def test_a_month_that_the_source_lacks_fails_with_its_url_and_leaves_the_others(
    stack: Stack, build: list[dict[str, Any]]
) -> None:
    assert build
    before = stack.query(warehouse_answers.MONTHS)
    path = "files/trip-data/yellow_tripdata_2023-03.parquet"
    stack.command("docker", "compose", "exec", "-T", "sample", "mv", path, "files/away")
    try:
        run = stack.webserver.finished(stack.webserver.launch_month("2023-03-01"))
    finally:
        stack.command("docker", "compose", "exec", "-T", "sample", "mv", "files/away", path)
    (failure,) = [event for event in run["eventConnection"]["events"] if event.get("failureMetadata")]
    url = "http://sample:8000/trip-data/yellow_tripdata_2023-03.parquet"
    assert failure["failureMetadata"]["description"].startswith(f"{url}: the source does not have this file (HTTP 404)")
    assert stack.query(warehouse_answers.MONTHS) == before


def test_the_status_names_the_month_that_failed_and_why(stack: Stack, build: list[dict[str, Any]]) -> None:
    assert build
    good, screen = stack.status()
    lines = [line.strip() for line in screen.splitlines()]
    verdict = "needs a person: taxi_trips 2023-03-01 failed; next: see its run above, then launch it again"
    assert (good, verdict in lines) == (False, True)
    place = next(n for n, line in enumerate(lines) if line.startswith("taxi_trips 2023-03-01 (ingestion_location), "))
    assert lines[place + 1].startswith("http://sample:8000/trip-data/yellow_tripdata_2023-03.parquet: the source does")
    run_link = f"{stack.webserver.url}/runs/"
    assert [line for line in lines[place:] if line.startswith(run_link)] != []


def test_a_run_can_be_terminated_from_the_ui(stack: Stack, build: list[dict[str, Any]]) -> None:
    assert build
    stack.command("docker", "compose", "--profile", "sample", "pause", "sample")
    try:
        # The source accepts the connection and never answers, so the run is there to be terminated.
        run_id = stack.webserver.launch_month("2023-01-01")
        stack.webserver.started(run_id)
        stack.webserver.terminate(run_id)
        run = stack.webserver.finished(run_id)
    finally:
        stack.command("docker", "compose", "--profile", "sample", "unpause", "sample")
    assert run["status"] == "CANCELED"


def test_what_a_run_printed_is_readable_after_its_container_is_gone(stack: Stack, loads: list[dict[str, Any]]) -> None:
    run_id = loads[1]["id"]
    stack.command("docker", "rm", stack.run_container(run_id)["Id"])
    assert "yellow_tripdata_2023-01.parquet" in stack.webserver.stderr(run_id)


def test_data_and_run_history_survive_down_and_up(stack: Stack, build: list[dict[str, Any]]) -> None:
    assert build

    def kept() -> tuple[Any, ...]:
        rows = stack.query(warehouse_answers.DAILY_METRICS)
        return rows, stack.webserver.run_count(), all_passwords(stack), stack.report("2023-01.html")

    before = kept()
    stack.command("make", "down")
    assert stack.services() == {}
    stack.up()
    assert kept() == before
    assert stack.webserver.materialized_partitions("daily_metrics") == 90


def test_a_restarted_stack_runs_the_next_month(stack: Stack, build: list[dict[str, Any]]) -> None:
    assert build
    assert stack.webserver.finished(stack.webserver.launch_month("2023-02-01"))["status"] == "SUCCESS"


def test_the_status_names_what_is_older_than_the_month_that_was_loaded_again(
    stack: Stack, build: list[dict[str, Any]]
) -> None:
    assert build
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
    stack.keep_logs("stack.log")
    stack.destroy()
    left = [
        stack.command("docker", kind, "ls", "--quiet", *every, "--filter", f"name={PROJECT}").split()
        for kind, every in (("container", ["--all"]), ("volume", []), ("network", []))
    ]
    runs = stack.command("docker", "ps", "--all", "--quiet", "--filter", f"label=project={PROJECT}").split()
    assert (left, runs) == ([[], [], []], [])


def test_the_status_of_a_stack_that_is_down_says_so(stack: Stack) -> None:
    good, screen = stack.status()
    assert (good, screen.splitlines()[-1]) == (False, f"needs a person: the stack {PROJECT} is not up; next: make up")
