"""`make bench-ingest`: loading a month, beside the limit of the server and beside other ways to load it.

The limit is what the server can do alone: COPY of the same rows from a file on its own disk, into the same table
(columns, check, index). Every method gets its turn in every round, so that a slow moment of the machine hits all alike.
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

from benchmarks import results, server, yellow

ROWS = 3_066_766
# to_sql is so slow that a part of the rows has to do; its seconds are scaled up.
TO_SQL_ROWS = 20_000
ROUNDS = 5
MONTH = date(2023, 1, 1)
START, END = datetime(2023, 1, 1), datetime(2023, 2, 1)
# DuckDB's own repository of extensions is a host of its own; the package brings the same file.
(DUCKDB_WRITER,) = Path(duckdb_extension_postgres_scanner.__path__[0]).glob("extensions/*/postgres_scanner.*")
COMMAND = (
    *("asset", "materialize", "--module-name", "ingestion_location.definitions"),
    *("--select", "taxi_trips", "--partition", f"{MONTH}"),
)
METHODS = {
    "limit": "server-side binary COPY from a file, into the same table",
    "ours": "taxi_trips: from the file to the commit, with check, index, statistics, swap and ledger",
    "adbc": "adbc_ingest",
    "duckdb": "DuckDB's Postgres writer",
    "csv": "psycopg2 CSV COPY",
    "to_sql": f'pandas.to_sql(method="multi"), {TO_SQL_ROWS:,} rows, scaled',
}


class Bench:
    """One server, one file, and every way to load it."""

    def __init__(self, site: Path, socket: str) -> None:
        """Takes the folder that stands in for the TLC's site and the server's socket."""
        self.source = TlcSource(base_url=site.as_uri(), taxi_type="yellow")
        self.path = site / "trip-data/yellow_tripdata_2023-01.parquet"
        self.socket = socket
        self.warehouse = Warehouse(host=socket, port=5432, database="postgres", user="postgres", password="")
        self.uri = f"postgresql:///postgres?host={socket}&user=postgres"
        self.connection = psycopg2.connect(self.uri)
        self.binary = site / "trips.bin"
        self.bare: list[float] = []

    def execute(self, *statements: str) -> None:
        """Executes and commits."""
        with self.connection, self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The file's trips in the canonical schema, of every batch the same columns."""
        with self.path.open("rb") as file:
            yield from TripFile(file, str(self.path)).batches()

    def checkpoint(self) -> None:
        """Writes out what the measurement before has left to write."""
        self.connection.autocommit = True
        with self.connection.cursor() as cursor:
            cursor.execute("checkpoint")
        self.connection.autocommit = False

    def table(self, *, check: bool = False) -> str:
        """A new, empty table of the trips' columns."""
        columns = ", ".join(f"{column.name} {column.postgres}" for column in COLUMNS)
        bounds = f", check (pickup_datetime is not null and pickup_datetime >= '{START}' and pickup_datetime < '{END}')"
        return f"drop table if exists target; create table target ({columns}{bounds if check else ''})"

    def prepare(self) -> None:
        """Loads the month once, and writes it as the file that the limit is measured with."""
        self.execute("create schema raw_taxis")
        self.ours()
        self.execute(f"copy raw_taxis.trips_2023_01 to '{self.binary}' (format binary)")

    def limit(self) -> float:
        """Table, COPY from a file on the server, index; the COPY's own seconds are kept too."""
        start = time.perf_counter()
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(self.table(check=True))
            copy = time.perf_counter()
            cursor.execute(f"copy target from '{self.binary}' (format binary, freeze)")
            self.bare.append(time.perf_counter() - copy)
            cursor.execute("create index on target using brin (pickup_datetime)")
        return time.perf_counter() - start

    def ours(self) -> float:
        """What a run of taxi_trips does."""
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
        """Pandas, on a part of the rows."""
        part = pa.Table.from_batches(list(islice(self.batches(), 4))).slice(0, TO_SQL_ROWS)
        start = time.perf_counter()
        self.execute(self.table())
        engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(self.uri))
        frame: pd.DataFrame = part.to_pandas()
        frame.to_sql("target", engine, if_exists="append", index=False, method="multi", chunksize=1_000)
        engine.dispose()
        return (time.perf_counter() - start) * ROWS / len(frame)

    def check(self, method: str) -> None:
        """Every method has loaded every row."""
        wanted = ROWS if method != "to_sql" else min(TO_SQL_ROWS, ROWS)
        table = "raw_taxis.trips" if method == "ours" else "target"
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(f"select count(*) from {table}")
            assert cursor.fetchall() == [(wanted,)], f"{method} has not loaded every row"


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
    """Measures every method ``ROUNDS`` times, in turns; the medians and what follows from them."""
    bench = Bench(site, socket)
    bench.prepare()
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for round_ in range(1, ROUNDS + 1):
        for method in METHODS:
            bench.checkpoint()
            seconds[method].append(getattr(bench, method)())
            bench.check(method)
            print(f"round {round_} of {ROUNDS}: {method} {seconds[method][-1]:.2f} s", flush=True)
    bench.connection.close()
    medians = {method: statistics.median(values) for method, values in seconds.items()}
    return {
        "rows": ROWS,
        "rounds": ROUNDS,
        "seconds": {method: round(median, 2) for method, median in medians.items()},
        "all_seconds": {method: [round(value, 2) for value in values] for method, values in seconds.items()},
        "bare_copy_seconds": round(statistics.median(bench.bare), 2),
        "share_of_limit": round(medians["limit"] / medians["ours"], 3),
        "share_of_bare_copy": round(statistics.median(bench.bare) / medians["ours"], 3),
        "times_faster_than": {
            method: round(median / medians["ours"], 1)
            for method, median in medians.items()
            if method not in ("limit", "ours")
        },
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


def show(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    limit = figures["seconds"]["limit"]
    lines = [f"{'':<9}{'seconds':>9}{'share of the limit':>20}", "-" * 100]
    for method, what in METHODS.items():
        seconds = figures["seconds"][method]
        lines.append(f"{method:<9}{seconds:>9.2f}{limit / seconds:>20.3f}  {what}")
    lines += [
        "",
        f"{figures['rows']:,} rows, median of {figures['rounds']}. The limit's COPY alone, without its index: "
        f"{figures['bare_copy_seconds']:.2f} s, of which ours is {figures['share_of_bare_copy']:.3f}.",
        f"Peak memory of the run: {figures['peak_mb']} MB; of a run with a file six times as long: "
        f"{figures['peak_mb_six_times']} MB.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures and writes the results."""
    # Readable for the server, whose user is another one where this runs as root.
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        site = root / "site"
        (site / "trip-data").mkdir(parents=True)
        site.chmod(0o777)
        path = site / "trip-data/yellow_tripdata_2023-01.parquet"
        with server.running(root / "postgres") as socket:
            yellow.write_month(path, MONTH, ROWS)
            figures = compare(site, socket)
            figures["peak_mb"] = round(peak_mb(site, socket))
            yellow.write_month(path, MONTH, 6 * ROWS)
            figures["peak_mb_six_times"] = round(peak_mb(site, socket))
            figures["machine"] = server.machine(socket)
    results.save("ingest", figures)
    print("\n" + show(figures))


if __name__ == "__main__":
    main()
