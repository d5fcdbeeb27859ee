"""`make demo` and the commands around it, run as a user runs them, on sample files in a folder of their own."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.error
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest

from demo.demo import read_assets
from demo.server import start_server
from ops import graphql
from ops.command import ROOT
from ops.rebuild import launch
from ops.status.webserver import assets
from tests import warehouse_answers
from tests.independent import RightAnswers
from tests.rows import comparable, plain
from tests.stack.webserver import Webserver, wait_for

MONTHS = ("2023-01", "2023-02", "2023-03")
# For a demo that ends before it builds anything.
ONE_MONTH = "TAXI_END_DATE=2023-02-01"
TABLES = (
    "raw_taxis.trips",
    "raw_taxis.stray_trips",
    "raw_taxis.zones",
    "analytics.daily_metrics",
    "analytics.location_metrics",
    "metrics.manhattan_stats",
    "metrics.zone_pickups",
    "metrics.borough_flows",
    "metrics.monthly_totals",
)


# What people have set for other work. Each of these values breaks a program that sees it.
FOREIGN = {
    **dict.fromkeys(("PGHOST", "PGHOSTADDR"), "203.0.113.1"),
    **dict.fromkeys(("PGPORT", "WAREHOUSE_PORT", "PGSERVER_POSTGRES_VERSION"), "1"),
    **dict.fromkeys(("PGUSER", "PGDATABASE", "PGSERVICE", "WAREHOUSE_USER", "WAREHOUSE_DATABASE"), "missing"),
    **{"PGOPTIONS": "-c missing=1", "PGSSLMODE": "wrong", "PGREQUIREPEER": "missing", "PGDATA": "/nonexistent"},
    **{"PGPASSFILE": "/nonexistent", "PGCLIENTENCODING": "wrong", "PGTZ": "wrong", "PGDATESTYLE": "wrong"},
    **{"LC_ALL": "xx_XX.UTF-8", "LANG": "xx_XX.UTF-8", "TZ": "wrong/zone"},
    **dict.fromkeys(("DBT_PROFILES_DIR", "DBT_PROJECT_DIR", "DBT_STATE", "DBT_TARGET_PATH"), "/nonexistent"),
    **{"DBT_TARGET": "missing", "DBT_PROFILE": "missing", "DBT_EMPTY": "1", "DBT_WARN_ERROR": "1"},
    **{"DAGSTER_HOME": "/nonexistent", "DAGSTER_POSTGRES_URL": "postgresql://203.0.113.1/"},
    **{"DAGSTER_DBT_PARSE_PROJECT_ON_LOAD": "1", "REPORTS_DIR": "relative", "MPLBACKEND": "wrong"},
    **{"PYTHONHOME": "/nonexistent", "PYTHONSTARTUP": "/nonexistent", "PYTHONSAFEPATH": "1"},
}


class Demo:
    """The demo, with its state in a folder of its own, whose name a shell, a URL or a format could misread."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "it's 100 %41 é"
        unset = {"TAXI_START_DATE", "TAXI_END_DATE", "TLC_BASE_URL", "TLC_TAXI_TYPE", "TAXI_AUTOMATION"}
        self.env = {name: value for name, value in os.environ.items() if name not in unset} | FOREIGN
        # Modules of other work, which fail when they are imported.
        modules = folder / "modules"
        modules.mkdir()
        for name in ("dagster", "dbt", "psycopg2", "yaml"):
            (modules / f"{name}.py").write_text("raise ImportError(__file__)")
        self.env |= {"DEMO_STATE": str(self.state), "PYTHONPATH": str(modules)}
        self.connection: psycopg2.extensions.connection

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--no-print-directory", *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True
        )

    def query(self, statement: str) -> list[list[Any]]:
        """Asks the warehouse."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return plain(cursor.fetchall())

    def contents(self) -> dict[str, Any]:
        """Number of rows and checksum of each table, independent of the order of rows."""
        checksum = "coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text"
        checksums = " union all ".join(f"select '{table}', count(*), {checksum} from {table} as t" for table in TABLES)
        return {row[0]: row[1:] for row in self.query(checksums)}


@pytest.fixture(scope="module")
def demo(open_folder: Path) -> Iterator[Demo]:
    demo = Demo(open_folder)
    ended = demo.make("demo")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (demo.state / "first.txt").write_text(ended.stdout)
    (demo.state / "first_errors.txt").write_text(ended.stderr)
    # Kept running for the queries of the tests; the commands that follow use it too.
    with start_server(demo.state / "postgres") as host:
        # The next command parses the dbt project again: once for this server, instead of once in each run.
        (ROOT / "dbt_location/analytics/target/manifest.json").unlink()
        demo.connection = psycopg2.connect(host=host, dbname="warehouse", user="postgres")
        demo.connection.autocommit = True
        yield demo
        demo.connection.close()


@pytest.fixture(scope="module")
def right(demo: Demo) -> RightAnswers:
    return RightAnswers(demo.state / "sample", "yellow", MONTHS)


def ran(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """The runs of a demo."""
    return re.findall(r"  (.*): done in", ended.stdout)


def steps(dev: Webserver, run_id: str) -> list[str]:
    """The steps of a run that ended well."""
    query = """
        query ($id: ID!) { runOrError(runId: $id) { ... on Run { stepStats { stepKey status } } } }
    """
    found = dev.ask(query, id=run_id)["runOrError"]["stepStats"]
    return [step["stepKey"] for step in found if step["status"] == "SUCCESS"]


def summary(demo: Demo) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((demo.state / "summary.json").read_text())
    return loaded


def test_every_trip_of_the_files_is_a_trip_of_its_month_or_a_stray(demo: Demo, right: RightAnswers) -> None:
    assert demo.query(warehouse_answers.MONTHS) == comparable(right.months())


def test_daily_metrics_equal_the_independent_computation(demo: Demo, right: RightAnswers) -> None:
    assert demo.query(warehouse_answers.DAILY_METRICS) == comparable(right.daily_metrics())


def test_location_metrics_equal_the_independent_computation(demo: Demo, right: RightAnswers) -> None:
    assert demo.query(warehouse_answers.LOCATION_METRICS) == comparable(right.location_metrics())


def test_manhattan_stats_equal_the_independent_computation(demo: Demo, right: RightAnswers) -> None:
    assert demo.query(warehouse_answers.MANHATTAN_STATS) == comparable(right.manhattan_stats())


def test_the_metrics_of_the_months_equal_the_independent_computation(demo: Demo, right: RightAnswers) -> None:
    assert demo.query(warehouse_answers.ZONE_PICKUPS) == comparable(right.zone_pickups())
    assert demo.query(warehouse_answers.BOROUGH_FLOWS) == comparable(right.borough_flows())
    assert demo.query(warehouse_answers.MONTHLY_TOTALS) == comparable(right.monthly_totals())


def test_the_map_has_a_shape_for_every_zone_but_those_that_the_source_has_none_of(demo: Demo) -> None:
    assert demo.query("select distinct zone_id from metrics.zone_pickups where not has_shape order by 1") == [
        [57],
        [104],
        [105],
        [264],
        [265],
    ]


def test_every_month_has_a_report_where_the_summary_and_the_output_say(demo: Demo) -> None:
    pages = [demo.state / f"reports/{month}.html" for month in MONTHS]
    assert summary(demo)["reports"] == [str(page) for page in pages]
    assert all("Taxi trips" in page.read_text() for page in pages)
    index = demo.state / "reports/index.html"
    assert [month for month in MONTHS if f'href="{month}.html"' in index.read_text()] == list(MONTHS)
    assert index.as_uri() in (demo.state / "first.txt").read_text()


def test_all_265_zones_are_loaded_with_the_literal_na(demo: Demo) -> None:
    assert demo.query("select count(*), count(*) filter (where borough = 'N/A') from raw_taxis.zones") == [[265, 1]]


def test_the_summary_matches_the_warehouse(demo: Demo, right: RightAnswers) -> None:
    days = plain(right.daily_metrics())
    shown = summary(demo)
    assert [[month["month"], month["rows"], month["strays"]] for month in shown["months"]] == plain(right.months())
    assert (shown["days"], shown["trip_count"]) == (90, sum(day[1] for day in days))
    assert shown["total_amount"] == pytest.approx(sum(day[4] for day in days))


def test_the_output_says_that_the_data_is_made_up(demo: Demo) -> None:
    assert "SAMPLE DATA, made up" in (demo.state / "first.txt").read_text()


def test_the_demo_prints_its_steps_and_nothing_else(demo: Demo) -> None:
    lines = (demo.state / "first.txt").read_text().partition("\n\n")[0].splitlines()
    steps = [line for line in lines if not re.fullmatch(r"  [\w ,-]+: done in [\d.]+ s", line)]
    assert steps == [
        "Starting the embedded Postgres",
        "Loading both code locations",
        "No TLC_BASE_URL is set: using SAMPLE DATA, made up",
        f"Loading 3 months from {(demo.state / 'sample').as_uri()}",
        "Building what has no partitions",
        "Building days",
        "Building months",
    ]
    # Of an installation, and of a shell whose locale is missing.
    expected = r"Installing \S+|.* warning: setlocale: .*"
    errors = (demo.state / "first_errors.txt").read_text().splitlines()
    assert [line for line in errors if not re.fullmatch(expected, line)] == []


class Second(NamedTuple):
    """What a second demo printed, which began while another one held the folder, and what it left in the warehouse."""

    first_line: str
    rest: str
    code: int
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="module")
def second(demo: Demo) -> Second:
    before = demo.contents()
    with (demo.state / "demo.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(["make", "demo"], cwd=ROOT, env=demo.env, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        first_line = process.stdout.readline()
    rest = process.communicate()[0]
    return Second(first_line, rest, process.returncode, before, demo.contents())


def test_a_second_demo_runs_nothing_and_changes_nothing(second: Second) -> None:
    assert (second.code, "done in" in second.rest, second.after) == (0, False, second.before)


def test_a_demo_waits_for_the_end_of_another_one_in_the_same_folder(second: Second) -> None:
    assert second.first_line == "Waiting for the end of another make demo\n"
    assert "built already" in second.rest


def test_a_shell_reads_the_environment_of_the_demo(demo: Demo) -> None:
    script = 'set -a; . "$DEMO_STATE/env"; printf "%s\n%s" "$DAGSTER_HOME" "$REPORTS_DIR"'
    shell = subprocess.run(["sh", "-c", script], env=demo.env, capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines() == [f"{demo.state}/dagster_home", f"{demo.state}/reports"]


def test_a_sample_that_is_made_again_is_the_same_version_of_every_file(demo: Demo, tmp_path: Path) -> None:
    python, script = ROOT / "ingestion_location/.venv/bin/python", ROOT / "demo/sample/generate.py"
    subprocess.run([python, script, str(tmp_path), "yellow", "2023-02-01", "2023-03-01"], check=True)
    again = {path.relative_to(tmp_path): path.stat() for path in tmp_path.rglob("*.*")}
    first = {path: (demo.state / "sample" / path).stat() for path in again}
    assert {path: (file.st_mtime, file.st_size) for path, file in again.items()} == {
        path: (file.st_mtime, file.st_size) for path, file in first.items()
    }


def test_make_dbt_docs_writes_one_page_about_every_model(demo: Demo) -> None:
    assert demo.make("dbt-docs").returncode == 0
    page = (demo.state / "dbt_docs/static_index.html").read_text()
    assert all(f"model.analytics.{model}" in page for model in ("stg_trips", "daily_metrics", "location_metrics"))


def test_a_wrong_setting_stops_the_demo_with_its_name(demo: Demo) -> None:
    ended = demo.make("demo", "TLC_TAXI_TYPE=blue")
    assert ended.returncode != 0
    assert "TLC_TAXI_TYPE='blue' is not a taxi type. Set it to yellow or green." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_make_assets_lists_every_asset_of_both_locations(demo: Demo) -> None:
    lines = demo.make("assets").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["borough_flows", "dbt_location"],
        ["borough_flows_chart", "dbt_location"],
        ["daily_metrics", "dbt_location"],
        ["location_metrics", "dbt_location"],
        ["manhattan_stats", "dbt_location"],
        ["monthly_report", "dbt_location"],
        ["monthly_totals", "dbt_location"],
        ["stg_trips", "dbt_location"],
        ["stg_zones", "dbt_location"],
        ["zone_map", "dbt_location"],
        ["zone_pickups", "dbt_location"],
        ["taxi_trips", "ingestion_location"],
        ["taxi_zones", "ingestion_location"],
    ]


def test_make_query_prints_csv_with_a_header(demo: Demo) -> None:
    answer = demo.make("query", "SQL=select zone_id, borough from raw_taxis.zones where zone = 'Outside of NYC'")
    assert answer.stdout == "zone_id,borough\n265,N/A\n"


def test_a_wrong_query_is_answered_in_one_line(demo: Demo) -> None:
    ended = demo.make("query", "SQL=select * from raw_taxis.trip")
    assert ended.returncode != 0
    assert 'relation "raw_taxis.trip" does not exist' in ended.stderr


@pytest.fixture(scope="module")
def dev(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    folder = tmp_path_factory.mktemp("settings")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / ".env").write_text("TAXI_AUTOMATION=on\nTAXI_END_DATE=2023-02-01\nTLC_BASE_URL=http://sample:8000\n")
    command = [str(ROOT / ".venv/bin/python"), "-m", "demo", "dev", "--port", str(port)]
    # In a folder with settings of the stack. PYTHONPATH names the module demo, which is in another folder then.
    env = {name: value for name, value in demo.env.items() if not name.startswith("PYTHON")} | {"PYTHONPATH": str(ROOT)}
    output = demo.state / "dev.txt"
    with output.open("w") as printed:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=printed, stderr=printed)
    webserver = Webserver(f"http://127.0.0.1:{port}")

    def answers() -> bool | None:
        assert process.poll() is None
        try:
            return bool(webserver.locations()) or None
        except (urllib.error.URLError, ConnectionError):
            return None

    wait_for("the UI of make dev", 90, answers)
    yield webserver
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)


def test_a_start_of_make_dev_prints_where_the_ui_is_and_no_warning(demo: Demo, dev: Webserver) -> None:
    output = demo.state / "dev.txt"
    wait_for("the line of each service", 60, lambda: output.read_text().count("\n") >= 3 or None)
    printed = re.sub(r"\x1b\[\d+m", "", output.read_text())
    # Up to the first run, if another test has launched one.
    start = takewhile(lambda line: "QueuedRunCoordinatorDaemon -" not in line, printed.splitlines())
    lines = [re.sub(r".* - dagster[\w.-]* - INFO - ", "", line) for line in start]
    # Of the services, the one that is up first prints first.
    assert sorted(re.sub(r"(\[.*\]|\d+$)", "…", line) for line in lines) == [
        "Instance is configured with the following daemons: …",
        "Launching Dagster services...",
        f"Serving dagster-webserver on {dev.url} in process …",
    ]


def test_make_dev_serves_both_locations_and_the_links_to_the_reports_with_automation_off(
    demo: Demo, dev: Webserver
) -> None:
    loaded = {name: location["__typename"] for name, location in dev.locations().items()}
    assert loaded == {"ingestion_location": "RepositoryLocation", "dbt_location": "RepositoryLocation"}
    assert (dev.materialized_partitions("taxi_trips"), dev.materialized_partitions("manhattan_stats")) == (3, 90)
    report = demo.state / "reports/2023-02.html"
    assert dev.metadata_url("monthly_report", "2023-02-01", "report") == report.as_uri()
    assert {status for location in loaded for status in dev.sensors(location).values()} == {"STOPPED"}


def test_the_webserver_says_of_every_asset_what_it_is_made_from_as_its_location_does(dev: Webserver) -> None:
    declared = attrgetter("location", "offsets", "kind", "cadence", "fmt", "keys")
    served = {asset.key: (sorted(asset.parents), *declared(asset)) for asset in assets(graphql.Webserver(dev.url))}
    described = read_assets({"PATH": os.environ["PATH"]})
    assert served == {asset.key: (sorted(asset.parents), *declared(asset)) for asset in described}
    assert any(asset.offsets for asset in described)


@pytest.mark.drill
@pytest.mark.release
def test_a_rebuild_launches_one_backfill_of_its_ranges(dev: Webserver) -> None:
    # Nothing is made from these.
    two = {"manhattan_stats": [("2023-01-05", "2023-01-06"), ("2023-02-01", "2023-02-01")]}
    runs = dev.backfill_runs(launch(graphql.Webserver(dev.url), two), number=2)
    tags = [dev.run(run["runId"])["tags"] for run in runs]
    bounds = [f"dagster/asset_partition_range_{end}" for end in ("start", "end")]
    built = {tuple(each.get(bound) or each["dagster/partition"] for bound in bounds) for each in tags}
    assert built == {*two["manhattan_stats"]}


@pytest.mark.drill
@pytest.mark.release
def test_what_was_built_before_the_newest_zones_is_outdated_for_dagster_and_built_again_on_request(
    demo: Demo, dev: Webserver
) -> None:
    made_from_zones = {"location_metrics", "zone_pickups", "zone_map", "monthly_report"}
    assert outdated(dev) == set()
    for location, asset in (("ingestion_location", "taxi_zones"), ("dbt_location", "stg_zones")):
        assert dev.finished(dev.launch(location, [asset]))["status"] == "SUCCESS"
    assert outdated(dev) == made_from_zones
    again = demo.make("demo")
    assert ran(again) == []
    assert set(re.findall(r"  (\w+) [\d.-]+: built before the newest stg_zones", again.stdout)) == made_from_zones
    rebuilt = demo.make("demo", "REBUILD=1")
    days, *months = ran(rebuilt)
    assert (days, months) == (
        "dbt_location 2023-01-01 to 2023-03-31",
        ["dbt_location 2023-01", "dbt_location 2023-02", "dbt_location 2023-03"],
    )
    assert outdated(dev) == set()


def outdated(dev: Webserver) -> set[str]:
    """The assets of which Dagster shows every partition as stale; of the others none is."""
    nodes = dev.ask("query { assetNodes { assetKey { path } partitionKeys staleStatus } }")["assetNodes"]
    found = set()
    for node in nodes:
        (asset,), keys = node["assetKey"]["path"], node["partitionKeys"]
        statuses = {node["staleStatus"]}
        if keys:
            (found_node,) = dev.ask(
                """query ($keys: [AssetKeyInput!], $partitions: [String!]!) {
                  assetNodes(assetKeys: $keys) { staleStatusByPartition(partitions: $partitions) } }""",
                keys=[node["assetKey"]],
                partitions=keys,
            )["assetNodes"]
            statuses = set(found_node["staleStatusByPartition"])
        assert statuses in ({"FRESH"}, {"STALE"}), asset
        found |= {asset} if statuses == {"STALE"} else set()
    return found


class Again(NamedTuple):
    """What a demo ran after January was loaded again and the report of March was deleted, and what that left."""

    ran: list[str]
    page_before: str
    page_after: str
    before: dict[str, Any]
    after: dict[str, Any]
    steps_of_february: list[str]
    steps_of_march: list[str]


@pytest.fixture(scope="module")
def again(demo: Demo, dev: Webserver) -> Again:
    before = demo.contents()
    page = demo.state / "reports/2023-03.html"
    was = page.read_text()
    page.unlink()
    assert dev.finished(dev.launch_month("2023-01-01"))["status"] == "SUCCESS"
    launched = ran(demo.make("demo"))
    # A log may have a line inside of another one, so Dagster is asked.
    february, march = (steps(dev, run["runId"]) for run in reversed(dev.runs()[:2]))
    return Again(launched, was, page.read_text(), before, demo.contents(), february, march)


@pytest.mark.drill
@pytest.mark.release
def test_a_month_that_is_loaded_again_has_its_days_its_metrics_and_the_next_months_report_built_again(
    demo: Demo, again: Again
) -> None:
    assert again.ran[:3] == [
        "dbt_location 2023-01-01 to 2023-01-31",
        "dbt_location 2023-01",
        "dbt_location 2023-02",
    ]
    assert again.steps_of_february == ["monthly_report"]


@pytest.mark.drill
@pytest.mark.release
def test_a_report_that_is_gone_is_made_again_alone(demo: Demo, again: Again) -> None:
    assert again.ran[3:] == ["dbt_location 2023-03"]
    assert again.steps_of_march == ["monthly_report"]
    assert (again.page_after, again.after) == (again.page_before, again.before)


class Stopped(NamedTuple):
    """A demo whose source, which has a login, lacks all files."""

    url: str
    ended: subprocess.CompletedProcess[str]
    before: dict[str, Any]
    after: dict[str, Any]


# The months whose load failed last are no longer shown as loaded.
@pytest.fixture(scope="module")
def stopped(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    before = demo.contents()
    empty = partial(SimpleHTTPRequestHandler, directory=str(tmp_path_factory.mktemp("empty")))
    with ThreadingHTTPServer(("127.0.0.1", 0), empty) as source:
        threading.Thread(target=source.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{source.server_port}"
        ended = demo.make("demo", f"TLC_BASE_URL={url}", "TLC_LOGIN=user:s3cr3t", ONE_MONTH)
        source.shutdown()
    return Stopped(url, ended, before, demo.contents())


def test_a_source_without_the_files_stops_the_demo_with_their_url_and_leaves_the_months(stopped: Stopped) -> None:
    assert stopped.ended.returncode != 0
    missing = rf"make demo stopped: {re.escape(stopped.url)}/.*: the source does not have this file \(HTTP 404\)"
    assert re.search(missing, stopped.ended.stderr)
    assert "Traceback" not in stopped.ended.stderr
    assert stopped.after == stopped.before


def test_a_password_of_the_source_is_neither_printed_nor_kept(demo: Demo, stopped: Stopped) -> None:
    assert f"months from {stopped.url}\n" in stopped.ended.stdout
    assert "s3cr3t" not in stopped.ended.stdout + stopped.ended.stderr
    kept = [path for path in demo.state.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]
    assert kept == []
