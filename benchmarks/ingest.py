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


class Bench:
    """One server, one file, and every way to load it."""

    def __init__(self, site: Path, socket: str) -> None:
        """Connects.

        Args:
            site: folder with the paths of the TLC's site.
            socket: folder of the server's socket.
        """
        self.source = TlcSource(base_url=site.as_uri(), taxi_type="yellow")
        self.path = site / "trip-data/yellow_tripdata_2023-01.parquet"
        self.socket = socket
        self.warehouse = Warehouse(host=socket, port=5432, database="postgres", user="postgres", password="")
        self.uri = f"postgresql:///postgres?host={socket}&user=postgres"
        self.connection = psycopg2.connect(self.uri)
        self.binary = site / "trips.bin"
        self.bare: list[float] = []

    def execute(self, *statements: str) -> None:
        """Executes statements as one transaction."""
        with self.connection, self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The file's trips in the canonical schema."""
        with self.path.open("rb") as file:
            yield from TripFile(file, str(self.path)).batches()

    def table(self, *, check: bool = False) -> str:
        """A new, empty table of the trips' columns."""
        columns = ", ".join(f"{column.name} {column.postgres}" for column in COLUMNS)
        bounds = f", check (pickup_datetime is not null and pickup_datetime >= '{START}' and pickup_datetime < '{END}')"
        return f"drop table if exists target; create table target ({columns}{bounds if check else ''})"

    def prepare(self) -> None:
        """Loads the month once, and writes it as the file that the limit copies."""
        self.execute("create schema raw_taxis")
        self.ours()
        self.execute(f"copy raw_taxis.trips_2023_01 to '{self.binary}' (format binary)")

    def limit(self) -> float:
        """Table, COPY from a file on the server, index; the seconds of the COPY alone go to ``bare``."""
        start = time.perf_counter()
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(self.table(check=True))
            copy = time.perf_counter()
            cursor.execute(f"copy target from '{self.binary}' (format binary, freeze)")
            self.bare.append(time.perf_counter() - copy)
            cursor.execute("create index on target using brin (pickup_datetime)")
        return time.perf_counter() - start

    def ours(self) -> float:
        """The load of taxi_trips: file, check, index, statistics, swap, ledger, commit."""
        start = time.perf_counter()
        loaded = load_month(self.source, self.warehouse, START, END, "benchmark", lambda _: None)
        seconds = time.perf_counter() - start
        assert loaded.file.trips == ROWS
        return seconds

    def csv(self) -> float:
        """CSV, made by pyarrow, streamed by psycopg2."""
        start = time.perf_counter()
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(self.table())
            reader = _Csv(self.batches())
            columns = ", ".join(reader.names)
            cursor.copy_expert(f"copy target ({columns}) from stdin (format csv)", reader, size=1 << 20)
        return time.perf_counter() - start

    def adbc(self) -> float:
        """Arrow batches through ADBC."""
        start = time.perf_counter()
        batches = self.batches()
        first = next(batches)
        reader = pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
        self.execute(self.table())
        with adbc_driver_postgresql.dbapi.connect(self.uri) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("target", reader, mode="append")
            connection.commit()
        return time.perf_counter() - start

    def duckdb(self) -> float:
        """DuckDB from parquet to Postgres."""
        start = time.perf_counter()
        self.execute(self.table())
        with self.path.open("rb") as file:
            names = TripFile(file, str(self.path)).mapping.source_by_name
        columns = ", ".join(names)
        values = ", ".join(f'"{source}"' for source in names.values())
        with duckdb.connect() as connection:
            connection.execute(f"load '{DUCKDB_WRITER}'")
            connection.execute(f"attach 'host={self.socket} user=postgres dbname=postgres' as pg (type postgres)")
            connection.execute(f"insert into pg.target ({columns}) select {values} from read_parquet('{self.path}')")
        return time.perf_counter() - start

    def to_sql(self) -> float:
        """pandas.to_sql on a part of the rows, scaled."""
        part = pa.Table.from_batches(list(islice(self.batches(), 4))).slice(0, TO_SQL_ROWS)
        start = time.perf_counter()
        self.execute(self.table())
        engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(self.uri))
        frame: pd.DataFrame = part.to_pandas()
        frame.to_sql("target", engine, if_exists="append", index=False, method="multi", chunksize=1_000)
        engine.dispose()
        return (time.perf_counter() - start) * ROWS / len(frame)

    def measure(self, method: str) -> float:
        """Seconds of a method, which has to load every row; without the writes that earlier work left."""
        with server.connect(self.socket, "postgres") as connection:
            connection.cursor().execute("checkpoint")
        seconds: float = getattr(self, method)()
        table = "raw_taxis.trips" if method == "ours" else "target"
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(f"select count(*) from {table}")
            assert cursor.fetchall() == [(TO_SQL_ROWS if method == "to_sql" else ROWS,)], method
        return seconds


class _Csv(io.RawIOBase):
    """Batches as CSV, for COPY."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        first = next(batches)
        self.names: list[str] = first.schema.names
        self._batches = chain([first], batches)
        self._rest = io.BytesIO()

    def read(self, size: int = -1, /) -> bytes:
        while not (part := self._rest.read(size)):
            batch = next(self._batches, None)
            if batch is None:
                return b""
            self._rest = io.BytesIO()
            pyarrow.csv.write_csv(batch, self._rest, pyarrow.csv.WriteOptions(include_header=False))
            self._rest.seek(0)
        return part


def compare(site: Path, socket: str) -> dict[str, Any]:
    """Measures every method ``ROUNDS`` times, in turns; the medians and their ratios."""
    bench = Bench(site, socket)
    bench.prepare()
    seconds = in_turns({method: partial(bench.measure, method) for method in METHODS}, ROUNDS)
    bench.connection.close()
    medians = {method: statistics.median(values) for method, values in seconds.items()}
    bare = statistics.median(bench.bare)
    ours = medians["ours"]
    others = [method for method in METHODS if method not in ("limit", "ours")]
    return {
        "rows": ROWS,
        "rounds": ROUNDS,
        "seconds": {method: round(median, 2) for method, median in medians.items()},
        "all_seconds": {method: [round(value, 2) for value in values] for method, values in seconds.items()},
        "bare_copy_seconds": round(bare, 2),
        "share_of_limit": round(medians["limit"] / ours, 3),
        "share_of_bare_copy": round(bare / ours, 3),
        "times_faster_than": {method: round(medians[method] / ours, 1) for method in others},
    }


def peak_mb(site: Path, socket: str) -> float:
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
        return float(subprocess.run(peak, env=env, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    with server.running() as (root, socket):
        site = root / "site"
        (site / "trip-data").mkdir(parents=True)
        # The server writes the limit's file here.
        site.chmod(0o777)
        path = site / "trip-data/yellow_tripdata_2023-01.parquet"
        yellow.write_month(path, MONTH, ROWS)
        figures = compare(site, socket)
        figures["peak_mb"] = round(peak_mb(site, socket))
        yellow.write_month(path, MONTH, 6 * ROWS)
        figures["peak_mb_six_times"] = round(peak_mb(site, socket))
        figures["machine"] = server.machine(socket)
    save("ingest", figures)


if __name__ == "__main__":
    main()
