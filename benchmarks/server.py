"""The Postgres that the benchmarks run on."""

import contextlib
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2

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


@contextlib.contextmanager
def running() -> Iterator[tuple[Path, str]]:
    """Starts an embedded Postgres with these settings; yields a temporary folder and the folder of the socket."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        # Run by root, the server has another user, who reads files of this folder.
        root.chmod(0o755)
        data = root / "postgres"
        with start_server(data), connect(str(data), "postgres") as connection, connection.cursor() as cursor:
            for name, value in SETTINGS.items():
                cursor.execute(f"alter system set {name} = '{value}'")
        with start_server(data, cleanup_mode="delete"):
            yield root, str(data)


@contextlib.contextmanager
def connect(socket: str, database: str) -> Iterator[psycopg2.extensions.connection]:
    """A superuser's connection that commits every statement."""
    with contextlib.closing(psycopg2.connect(host=socket, user="postgres", dbname=database)) as connection:
        connection.autocommit = True
        yield connection


def machine(socket: str) -> dict[str, str | int]:
    """The machine and the versions that were measured."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(": ")[2] for line in cpuinfo.splitlines() if line.startswith("model name")), "unknown")
    meminfo = Path("/proc/meminfo").read_text().split()
    with connect(socket, "postgres") as connection:
        postgres = connection.info.parameter_status("server_version") or "unknown"
    return {
        "cpu": model,
        "cores": cpuinfo.count("processor\t"),
        "memory_gb": round(int(meminfo[1]) / 1e6),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "postgres": postgres.partition(" ")[0],
    }
