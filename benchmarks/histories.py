"""Warehouses with a history of loaded months, on one server, each with its own Dagster instance."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from urllib.parse import quote

from ingestion_location.defs.trips.month_load import load_month
from ingestion_location.defs.zones.zones_table import replace_zones
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse
from psycopg2 import sql

from benchmarks import yellow
from benchmarks.server import connect
from demo.sample.generate import zones
from ops.command import ROOT
from services.migrate.apply import apply


def month_start(day: date, months: int) -> date:
    """First day of the month that is ``months`` months after the month of ``day``."""
    month = day.year * 12 + day.month - 1 + months
    return date(month // 12, month % 12 + 1, 1)


@dataclass(frozen=True)
class History:
    """A warehouse whose months ``[start, end)`` are loaded.

    Attributes:
        name: database of the warehouse; the instance's is ``dagster_<name>``.
        start: first day of the first month.
        end: day after the last month.
        trips: trips per month.
        socket: folder of the server's socket.
        folder: for DAGSTER_HOME and dbt's target.
    """

    name: str
    start: date
    end: date
    trips: int
    socket: str
    folder: Path

    @property
    def months(self) -> Iterator[date]:
        """First days of the months."""
        month = self.start
        while month < self.end:
            yield month
            month = month_start(month, 1)

    @property
    def env(self) -> dict[str, str]:
        """The environment of dbt and dagster. Each warehouse has its own target folder, because dbt parses the project
        again when its connection changes."""
        return os.environ | {
            "WAREHOUSE_HOST": self.socket,
            "WAREHOUSE_DATABASE": self.name,
            "TAXI_START_DATE": f"{self.start}",
            "TAXI_END_DATE": f"{self.end}",
            "DAGSTER_HOME": str(self.folder),
            "DAGSTER_POSTGRES_URL": f"postgresql+psycopg2://dagster@/dagster_{self.name}?host={quote(self.socket)}",
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "target"),
        }

    def create(self) -> None:
        """Creates the databases, and the zones in the warehouse."""
        self.folder.mkdir(parents=True)
        shutil.copy(ROOT / "demo/dagster.yaml", self.folder / "dagster.yaml")
        apply(f"host={self.socket} user=postgres")
        with connect(self.socket, "postgres") as connection, connection.cursor() as cursor:
            # The template is the pipeline's own warehouse, which has schemas and grants and no data.
            cursor.execute(sql.SQL("create database {} template warehouse").format(sql.Identifier(self.name)))
            cursor.execute(sql.SQL("create database {} owner dagster").format(sql.Identifier(f"dagster_{self.name}")))
        with self.warehouse.transaction() as transaction, transaction.cursor() as cursor:
            replace_zones(cursor, list(zones()), {})

    @property
    def warehouse(self) -> Warehouse:
        """The connection of the role ingestion_location."""
        return Warehouse(host=self.socket, port=5432, database=self.name, user="ingestion_location", password="")

    def load(self, source: TlcSource, month: date) -> None:
        """Loads one month, as a run of ``taxi_trips`` does."""
        start, end = (datetime.combine(day, datetime.min.time()) for day in (month, month_start(month, 1)))
        loaded = load_month(source, self.warehouse, start, end, "benchmark", lambda _: None)
        assert loaded.file.trips == self.trips


def load(histories: Sequence[History], site: Path) -> None:
    """Creates and loads warehouses; those that share a month load it from the same file.

    Args:
        histories: the warehouses, all with the same number of trips per month.
        site: folder with the paths of the TLC's site.
    """
    source = TlcSource(base_url=site.as_uri(), taxi_type="yellow")
    for history in histories:
        history.create()
    (trips,) = {history.trips for history in histories}
    for month in sorted({month for history in histories for month in history.months}):
        path = site / f"trip-data/yellow_tripdata_{month:%Y-%m}.parquet"
        path.parent.mkdir(exist_ok=True)
        yellow.write_month(path, month, trips)
        for history in histories:
            if history.start <= month < history.end:
                history.load(source, month)
        path.unlink()
