"""A real Postgres with the rights that the location has, and small trip files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingestion_location.warehouse import Warehouse

from demo.server import temporary_server

Query = Callable[[str], list[tuple[Any, ...]]]
Trip = dict[str, Any]
WriteTrips = Callable[..., Path]

SETUP = """
drop schema if exists raw_taxis cascade;
create schema raw_taxis authorization ingestion_location;
"""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Folder of the socket of a server of this session's own."""
    with temporary_server() as host:
        connection = psycopg2.connect(host=host, user="postgres", dbname="postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("create role ingestion_location login")
            cursor.execute("create database warehouse")
        connection.close()
        yield host


@pytest.fixture
def warehouse(server: str) -> Warehouse:
    """The location's own connection to a warehouse without tables."""
    connection = psycopg2.connect(host=server, user="postgres", dbname="warehouse")
    with connection, connection.cursor() as cursor:
        cursor.execute(SETUP)
    connection.close()
    return Warehouse(host=server, port=5432, database="warehouse", user="ingestion_location", password="")


@pytest.fixture
def query(warehouse: Warehouse) -> Query:
    """Asks the warehouse and returns the rows."""

    def ask(statement: str) -> list[tuple[Any, ...]]:
        with warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    return ask


@pytest.fixture
def write_trips(tmp_path: Path) -> WriteTrips:
    """Writes trips as a month's file of a stand-in for the TLC's site, whose folder it returns."""

    def write(month: str, *trips: Trip, without: str | None = None) -> Path:
        folder = tmp_path / "site"
        (folder / "trip-data").mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(list(trips))
        if without:
            table = table.drop_columns([without])
        pq.write_table(table, folder / f"trip-data/yellow_tripdata_{month}.parquet")
        return folder

    return write
