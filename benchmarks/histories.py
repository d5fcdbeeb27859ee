"""Warehouses with a history of loaded months, on one server, each with its own Dagster instance."""

import os
import shutil
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from ingestion_location.defs.trips.month_load import load_month
from ingestion_location.defs.zones.taxi_zones import replace_zones
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse

from benchmarks import yellow
from benchmarks.server import connect
from demo.sample.generate import zones
from ops.command import ROOT
from services.migrate.apply import apply


@dataclass(frozen=True)
class History:
    """A warehouse with the months from the one that begins on ``start`` to the one that ends on ``last``.

    Attributes:
        name: database of the warehouse; the instance's is ``dagster_<name>``.
        trips: trips per month.
        socket: folder of the server's socket.
        folder: for DAGSTER_HOME and dbt's target.
    """

    name: str
    start: date
    last: date
    trips: int
    socket: str
    folder: Path

    @property
    def days(self) -> int:
        return (self.last - self.start).days + 1

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {
            "WAREHOUSE_HOST": self.socket,
            "WAREHOUSE_DATABASE": self.name,
            "TAXI_START_DATE": f"{self.start}",
            "TAXI_END_DATE": f"{_next_month(self.last):%Y-%m-%d}",
            "DAGSTER_HOME": str(self.folder),
            "DAGSTER_POSTGRES_URL": f"postgresql+psycopg2://dagster@/dagster_{self.name}?host={quote(self.socket)}",
            # Of its own, because dbt parses the project again when its connection changes.
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "target"),
        }

    def load(self, site: Path) -> None:
        """Creates the databases and loads the zones and the months, whose files are in ``site`` only meanwhile."""
        self.folder.mkdir()
        shutil.copy(ROOT / "demo/dagster.yaml", self.folder / "dagster.yaml")
        apply(f"host={self.socket} user=postgres")
        with connect(self.socket, "postgres") as connection, connection.cursor() as cursor:
            # The template is the pipeline's own warehouse, which has schemas and grants and no data.
            cursor.execute(f"create database {self.name} template warehouse")
            cursor.execute(f"create database dagster_{self.name} owner dagster")
        warehouse = Warehouse(host=self.socket, port=5432, database=self.name, user="ingestion_location", password="")
        with warehouse.transaction() as transaction:
            replace_zones(transaction, list(zones()), {})
        source = TlcSource(base_url=site.as_uri(), taxi_type="yellow")
        for month in pd.date_range(self.start, self.last, freq="MS").to_pydatetime():
            path = site / f"trip-data/yellow_tripdata_{month:%Y-%m}.parquet"
            yellow.write_month(path, month, self.trips)
            loaded = load_month(source, warehouse, month, _next_month(month), "benchmark", lambda _: None)
            assert loaded.file.trips == self.trips
            path.unlink()


def _next_month(day: date) -> datetime:
    return datetime(day.year + day.month // 12, day.month % 12 + 1, 1)
