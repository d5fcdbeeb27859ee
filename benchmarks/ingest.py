"""`make bench-ingest`: loading a month, compared with the limit of the server and with other ways to load it.

The limit is the server's own COPY of the same rows, from a file on its disk into the same table with check and index.
"""

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import duckdb
import duckdb_extension_postgres_scanner
import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.csv
import sqlalchemy
from ingestion_location.defs.trips.month_load import load_month
from ingestion_location.defs.trips.trip_file import TripFile
from ingestion_location.defs.trips.trip_schema import COLUMNS
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse

from benchmarks import server, yellow
from benchmarks.measuring import in_turns, save

ROWS = 3_066_766
# to_sql is so slow that it loads a part of the rows; its seconds are scaled up.
TO_SQL_ROWS = 20_000
ROUNDS = 5
MONTH = date(2023, 1, 1)
START, END = datetime(2023, 1, 1), datetime(2023, 2, 1)
# The package has the file that DuckDB would download from its extension repository.
(DUCKDB_WRITER,) = Path(duckdb_extension_postgres_scanner.__path__[0]).glob("extensions/*/postgres_scanner.*")
COMMAND = (
    *("asset", "materialize", "--module-name", "ingestion_location.definitions"),
    *("--select", "taxi_trips", "--partition", f"{MONTH}"),
)
METHODS = ("limit", "ours", "adbc", "duckdb", "csv", "to_sql")
NEW_TABLE = (
    "drop table if exists target; "
    f"create table target ({', '.join(f'{column.name} {column.postgres}' for column in COLUMNS)})"
)
IN_MONTH = f"pickup_datetime is not null and pickup_datetime >= '{START}' and pickup_datetime < '{END}'"


class Bench:
    """One server, one file, and every way to load it; a method named after each way does its work."""

    def __init__(self, site: Path, socket: str) -> None:
        """Connects, loads the month from the TLC's paths below ``site``, and prepares what limit and pandas load."""
        self.source = TlcSource(base_url=site.as_uri(), taxi_type="yellow")
        self.path = site / "trip-data/yellow_tripdata_2023-01.parquet"
        self.socket = socket
        self.warehouse = Warehouse(host=socket, port=5432, database="postgres", user="postgres", password="")
        self.uri = f"postgresql:///postgres?host={socket}&user=postgres"
        self.connection = psycopg2.connect(self.uri)
        self.binary = site / "trips.bin"
        self.execute("create schema raw_taxis")
        self.ours()
        self.execute(f"copy raw_taxis.trips_2023_01 to '{self.binary}' (format binary)")
        first_batches = pa.Table.from_batches(islice(self.batches(), 4))
        self.frame: pd.DataFrame = first_batches.slice(0, TO_SQL_ROWS).to_pandas()

    def execute(self, statement: str) -> None:
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(statement)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The file's trips in the canonical schema."""
        with self.path.open("rb") as file:
            yield from TripFile(file, str(self.path)).batches()

    def limit(self) -> None:
        """Table, COPY from a file on the server, index."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(f"{NEW_TABLE}; alter table target add check ({IN_MONTH})")
            cursor.execute(f"copy target from '{self.binary}' (format binary, freeze)")
            cursor.execute("create index on target using brin (pickup_datetime)")

    def ours(self) -> None:
        """The load of taxi_trips: file, check, index, statistics, swap, ledger, commit."""
        load_month(self.source, self.warehouse, START, END, "benchmark", lambda _: None)

    def csv(self) -> None:
        """CSV, made by pyarrow, streamed by psycopg2."""
        without_header = pyarrow.csv.WriteOptions(include_header=False)
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(NEW_TABLE)
            for batch in self.batches():
                text = io.BytesIO()
                pyarrow.csv.write_csv(batch, text, without_header)
                text.seek(0)
                columns = ", ".join(batch.schema.names)
                cursor.copy_expert(f"copy target ({columns}) from stdin (format csv)", text, size=1 << 20)

    def adbc(self) -> None:
        """Arrow batches through ADBC."""
        batches = self.batches()
        first = next(batches)
        reader = pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
        self.execute(NEW_TABLE)
        with adbc_driver_postgresql.dbapi.connect(self.uri) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("target", reader, mode="append")
            connection.commit()

    def duckdb(self) -> None:
        """DuckDB from parquet to Postgres."""
        self.execute(NEW_TABLE)
        with self.path.open("rb") as file:
            names = TripFile(file, str(self.path)).mapping.source_by_name
        columns = ", ".join(names)
        values = ", ".join(f'"{source}"' for source in names.values())
        with duckdb.connect() as connection:
            connection.execute(f"load '{DUCKDB_WRITER}'")
            connection.execute(f"attach 'host={self.socket} user=postgres dbname=postgres' as pg (type postgres)")
            connection.execute(f"insert into pg.target ({columns}) select {values} from read_parquet('{self.path}')")

    def to_sql(self) -> None:
        """pandas.to_sql on a part of the rows."""
        self.execute(NEW_TABLE)
        engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(self.uri))
        self.frame.to_sql("target", engine, if_exists="append", index=False, method="multi", chunksize=1_000)
        engine.dispose()

    def measure(self, method: str) -> float:
        """Seconds of a method, which has to load every row; without the writes that earlier work left."""
        with server.connect(self.socket, "postgres") as connection:
            connection.cursor().execute("checkpoint")
        start = time.perf_counter()
        getattr(self, method)()
        seconds = time.perf_counter() - start
        rows = TO_SQL_ROWS if method == "to_sql" else ROWS
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(f"select count(*) from {'raw_taxis.trips' if method == 'ours' else 'target'}")
            assert cursor.fetchall() == [(rows,)], method
        return seconds * ROWS / rows


def compare(site: Path, socket: str) -> dict[str, Any]:
    """Measures every method ``ROUNDS`` times, in turns; the medians and their ratios."""
    bench = Bench(site, socket)
    seconds = in_turns({method: partial(bench.measure, method) for method in METHODS}, ROUNDS)
    bench.connection.close()
    medians = {method: statistics.median(values) for method, values in seconds.items()}
    return {
        "rows": ROWS,
        "rounds": ROUNDS,
        "seconds": {method: round(median, 2) for method, median in medians.items()},
        "all_seconds": {method: [round(value, 2) for value in values] for method, values in seconds.items()},
        "share_of_limit": round(medians["limit"] / medians["ours"], 3),
    }


def peak_mb(site: Path, socket: str) -> int:
    """Peak memory of the process of a Dagster run that loads the month, in MB (10^6 bytes)."""
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {
            "DAGSTER_HOME": home,
            "TLC_BASE_URL": site.as_uri(),
            "WAREHOUSE_HOST": socket,
            "WAREHOUSE_DATABASE": "postgres",
            "WAREHOUSE_USER": "postgres",
        }
        dagster = str(Path(sys.executable).with_name("dagster"))
        peak = [sys.executable, "-m", "benchmarks.peak", dagster, *COMMAND]
        return round(float(subprocess.run(peak, env=env, stdout=subprocess.PIPE, check=True).stdout))


def measure(root: Path, socket: str) -> dict[str, Any]:
    """Compares the methods, and measures the memory for this file and for one six times as long."""
    path = root / "site/trip-data/yellow_tripdata_2023-01.parquet"
    path.parent.mkdir(parents=True)
    site = root / "site"
    # The server writes the limit's file here.
    site.chmod(0o777)
    yellow.write_month(path, MONTH, ROWS)
    figures = compare(site, socket) | {"peak_mb": peak_mb(site, socket)}
    yellow.write_month(path, MONTH, 6 * ROWS)
    return figures | {"peak_mb_six_times": peak_mb(site, socket), "machine": server.machine(socket)}


if __name__ == "__main__":
    with server.running() as (root, socket):
        save("ingest", measure(root, socket))
