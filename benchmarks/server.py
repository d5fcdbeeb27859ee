"""The Postgres that the benchmarks run on."""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path

import psycopg2

from demo.server import start_server

# Room for the write-ahead log of some loads, so that no checkpoint falls into one measurement and not into another; nor
# an autovacuum of what the measurement before has left.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "min_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
    "max_parallel_workers_per_gather": "0",
}


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """Starts an embedded Postgres with these settings in ``folder`` and yields the folder of its socket."""
    with start_server(folder) as server:
        connection = psycopg2.connect(server.get_uri())
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name, value in SETTINGS.items():
                cursor.execute(f"alter system set {name} = '{value}'")
        connection.close()
    with start_server(folder, cleanup_mode="delete"):
        yield str(folder)


def machine(socket: str) -> dict[str, str | int]:
    """What was measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(": ")[2] for line in cpuinfo.splitlines() if line.startswith("model name")), "unknown")
    meminfo = Path("/proc/meminfo").read_text().split()
    connection = psycopg2.connect(host=socket, user="postgres", dbname="postgres")
    postgres = connection.info.parameter_status("server_version") or "unknown"
    connection.close()
    return {
        "cpu": model,
        "cores": cpuinfo.count("processor\t"),
        "memory_gb": round(int(meminfo[1]) / 1e6),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "postgres": postgres.partition(" ")[0],
    }
