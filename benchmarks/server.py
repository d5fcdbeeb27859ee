"""The Postgres that the benchmarks run on, and its counters."""

import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
from psycopg2.extras import RealDictCursor

from demo.server import start_server

# Room for the write-ahead log of several loads, and no autovacuum: no checkpoint and no vacuum of earlier work falls
# into a measurement.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "min_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
    "max_parallel_workers_per_gather": "0",
}
# buffers: pages of 8 KiB that were read, the catalog's included; rows: those read from the pipeline's tables.
COUNTERS = """
select
    (select blks_hit + blks_read from pg_stat_database where datname = current_database()) as buffers,
    (select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_user_tables) as rows
"""
SESSIONS = "select from pg_stat_activity where datname = %s and backend_type = 'client backend'"


@contextlib.contextmanager
def running() -> Iterator[tuple[Path, str]]:
    """Starts an embedded Postgres with these settings; yields a temporary folder and the folder of the socket."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        # Run by root, the server has another user, who reads files of this folder.
        root.chmod(0o755)
        data = root / "postgres"
        with start_server(data) as socket, connect(socket, "postgres") as connection, connection.cursor() as cursor:
            for name, value in SETTINGS.items():
                cursor.execute(f"alter system set {name} = '{value}'")
        # The settings need a start.
        with start_server(data) as socket:
            yield root, socket


@contextlib.contextmanager
def connect(socket: str, database: str) -> Iterator[psycopg2.extensions.connection]:
    """A superuser's connection that commits every statement."""
    with contextlib.closing(psycopg2.connect(host=socket, user="postgres", dbname=database)) as connection:
        connection.autocommit = True
        yield connection


@contextlib.contextmanager
def counting(socket: str, database: str) -> Iterator[dict[str, int]]:
    """Counts the work of other sessions during a ``with``; yields a dictionary that has the figures at its end."""
    counted: dict[str, int] = {}
    # Reading the counters is counted too, and takes more work the more tables there are.
    first, before = _read_counters(socket, database), _read_counters(socket, database)
    yield counted
    after = _read_counters(socket, database)
    counted |= {name: after[name] - before[name] - (before[name] - first[name]) for name in after}


def _read_counters(socket: str, database: str) -> dict[str, int]:
    with connect(socket, "postgres") as connection, connection.cursor() as cursor:
        cursor.execute(SESSIONS, (database,))
        # A session adds its work to the counters when it ends.
        while cursor.rowcount:
            time.sleep(0.01)
            cursor.execute(SESSIONS, (database,))
    with connect(socket, database) as connection, connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(COUNTERS)
        return {name: int(value) for name, value in cursor.fetchall()[0].items()}


def machine(socket: str) -> dict[str, str | int | None]:
    """The machine and the versions that were measured."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in cpuinfo if line.startswith("model name")), "unknown")
    with connect(socket, "postgres") as connection:
        postgres = str(connection.info.parameter_status("server_version"))
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "postgres": postgres.partition(" ")[0],
    }
