"""Whatever process or connection dies during a load, the month is exactly the old one or exactly the new one."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.misbehaving_server import Site, send, serving
from ingestion_location.defs.trips.month_load import LoadedMonth, load_month
from ingestion_location.progress import Log
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse
from integration.killable_load import JANUARY, start_load

pytestmark = pytest.mark.drill

PHASES = ("download", "copy", "index", "swap", "commit")
MOMENTS_PER_PHASE = 10
# Every third one in CI, all before a release.
MOMENTS = [
    pytest.param(moment, marks=() if moment % 3 == 0 else pytest.mark.release) for moment in range(MOMENTS_PER_PHASE)
]
FILE = "trip-data/yellow_tripdata_2023-01.parquet"
# Everything that a load writes, in one row.
CONTENT = """
select
    (select count(*) from raw_taxis.trips), (select sum(total_amount) from raw_taxis.trips),
    (select count(*) from raw_taxis.stray_trips), (select sum(total_amount) from raw_taxis.stray_trips),
    (select string_agg(rows || ' rows, ' || strays || ' strays', '; ') from raw_taxis.trip_files)
"""
TABLES = (
    "select relname from pg_class where relnamespace = 'raw_taxis'::regnamespace and relkind in ('r', 'p') order by 1"
)
OTHERS = """
select pid, state, query from pg_stat_activity where usename = 'ingestion_location' and pid <> pg_backend_pid()
"""


def trips(count: int, strays: int, amount: float) -> bytes:
    """A file of January with some trips and strays that all cost the same."""
    pickup = np.datetime64(JANUARY[0], "us") + np.linspace(0, 31 * 86_400 - 1, count).astype("timedelta64[s]")
    pickup = np.concatenate([pickup, np.full(strays, np.datetime64(datetime(2022, 12, 31), "us"))])
    table = pa.table(
        {
            "tpep_pickup_datetime": pickup,
            "tpep_dropoff_datetime": pickup,
            "PULocationID": np.full(len(pickup), 1),
            "DOLocationID": np.full(len(pickup), 2),
            "total_amount": np.full(len(pickup), amount),
        }
    )
    file = pa.BufferOutputStream()
    pq.write_table(table, file)
    return bytes(file.getvalue())


def content_of(count: int, strays: int, amount: float) -> tuple[Any, ...]:
    """The warehouse's content after a load of such a file."""
    return (count, count * amount, strays, strays * amount, f"{count + strays} rows, {strays} strays")


# Two versions of the month that have nothing in common.
OLD, NEW = (60_000, 7, 1.0), (90_000, 11, 2.0)


class January:
    """The warehouse, and a site whose file of January is one of the two versions."""

    def __init__(self, site: Site, warehouse: Warehouse, query: Callable[[str], Any], temporary: Path) -> None:
        self.site = site
        self.warehouse = warehouse
        self.query = query
        self.temporary = temporary

    def publish(self, version: tuple[int, int, float]) -> None:
        self.site.acts = [send(trips(*version))]

    def load(self, log: Log = lambda line: None) -> LoadedMonth:
        source = TlcSource(base_url=self.site.root, taxi_type="yellow")
        return load_month(source, self.warehouse, *JANUARY, "the test", log)

    def content(self) -> tuple[Any, ...]:
        (row,) = self.query(CONTENT)
        return tuple(row)


@pytest.fixture
def january(warehouse: Warehouse, query: Any, tmp_path: Path) -> Iterator[January]:
    """January, loaded from its old version, with the new one published."""
    with serving(send(b"")) as site:
        january = January(site, warehouse, query, tmp_path)
        january.publish(OLD)
        january.load()
        january.publish(NEW)
        yield january


@pytest.fixture(scope="module")
def durations() -> dict[str, float]:
    """Seconds that each phase of an undisturbed load takes, from the first load that was measured."""
    return {}


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("phase", PHASES)
def test_a_run_killed_at_any_moment_leaves_the_old_month_or_the_new_one_and_the_next_one_ends_right(
    january: January, durations: dict[str, float], phase: str, moment: int
) -> None:
    if not durations:
        durations.update(january.load().seconds)
        january.publish(OLD)
        january.load()
        january.publish(NEW)
    process, logged = start_load(january.site.root, january.warehouse, january.temporary)
    while logged.recv() != f"phase {phase}":
        pass
    # The kills are spread over the duration of the phase; on a busy machine a kill may come late, in a later phase.
    time.sleep(durations[phase] * moment / MOMENTS_PER_PHASE)
    process.kill()
    process.join()
    # Only a load whose commit had begun can have ended by itself, or have left the new month.
    if "phase commit" in (f"phase {phase}", *rest(logged)):
        assert process.exitcode in (-signal.SIGKILL, 0)
        assert january.content() in (content_of(*OLD), content_of(*NEW))
    else:
        assert process.exitcode == -signal.SIGKILL
        assert january.content() == content_of(*OLD)
    january.load()
    assert january.content() == content_of(*NEW)
    assert january.query(TABLES) == [("stray_trips",), ("trip_files",), ("trips",), ("trips_2023_01",)]
    wait_until(lambda: january.query(OTHERS) == [])
    assert list(january.temporary.iterdir()) == []


def rest(logged: Connection) -> Iterator[str]:
    """The unread lines of the log of a process that has ended."""
    with contextlib.suppress(EOFError):
        while True:
            yield logged.recv()


def test_a_run_killed_while_it_waits_for_a_reader_does_not_keep_the_next_one_out(january: January) -> None:
    with january.warehouse.transaction() as reading, reading.cursor() as cursor:
        cursor.execute("select count(*) from raw_taxis.trips")
        process, logged = start_load(january.site.root, january.warehouse, january.temporary)
        while not logged.recv().startswith("waiting for the readers"):
            pass
        process.kill()
        process.join()
    january.load()
    assert january.content() == content_of(*NEW)
    wait_until(lambda: january.query(OTHERS) == [])


def at(phase: str, act: Callable[[], object]) -> Log:
    """A log that acts when a phase begins."""

    def log(line: str) -> None:
        if line == f"phase {phase}":
            act()

    return log


@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_server_that_crashes_leaves_the_old_month_and_the_next_load_is_right(
    january: January, server: str, phase: str
) -> None:
    def crash() -> None:
        # When a backend is killed, the server ends all others and recovers from its log. The backend of the load itself
        # is killed, because the load could still commit before the server ends it for another backend's death.
        with contextlib.closing(psycopg2.connect(host=server, user="postgres", dbname="warehouse")) as connection:
            with connection.cursor() as cursor:
                cursor.execute("select pid from pg_stat_activity where usename = 'ingestion_location'")
                ((backend,),) = cursor.fetchall()
            os.kill(backend, signal.SIGKILL)
            wait_until(lambda: is_lost(connection))

    with pytest.raises(psycopg2.Error) as failed:
        january.load(at(phase, crash))
    wait_until(lambda: is_up(server))
    assert "cannot be reached, or the connection to it was lost (" in january.warehouse.explain(failed.value)
    assert january.content() == content_of(*OLD)
    january.load()
    assert january.content() == content_of(*NEW)


def is_lost(connection: Any) -> bool:
    """Whether a connection is gone."""
    try:
        connection.cursor().execute("select 1")
    except psycopg2.OperationalError:
        return True
    return False


def is_up(server: str) -> bool:
    """Whether the server takes connections."""
    try:
        psycopg2.connect(host=server, user="postgres", dbname="warehouse").close()
    except psycopg2.OperationalError:
        return False
    return True


@contextlib.contextmanager
def cut_after(server: str, folder: Path, megabytes: float) -> Iterator[Path]:
    """A proxy of the server that breaks off after the client has sent so much; yields the folder of its socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / ".s.PGSQL.5432"))
        listener.listen()

        def forward(source: socket.socket, target: socket.socket, left: float) -> None:
            with contextlib.suppress(OSError):
                while left > 0 and (data := source.recv(65_536)):
                    target.sendall(data)
                    left -= len(data)
            for end in (source, target):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    backend = socket.socket(socket.AF_UNIX)
                    backend.connect(f"{server}/.s.PGSQL.5432")
                    for way in ((client, backend, megabytes * 1e6), (backend, client, float("inf"))):
                        threading.Thread(target=forward, args=way, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield folder


@pytest.mark.parametrize("megabytes", [0.0001, 0.002, 0.5, 2, 4])
def test_a_connection_cut_at_any_byte_leaves_the_old_month_and_the_next_load_is_right(
    january: January, server: str, tmp_path: Path, megabytes: float
) -> None:
    direct = january.warehouse
    with cut_after(server, tmp_path, megabytes) as folder:
        january.warehouse = direct.model_copy(update={"host": str(folder)})
        with pytest.raises(psycopg2.Error) as failed:
            january.load()
    assert "cannot be reached, or the connection to it was lost (" in direct.explain(failed.value)
    assert january.content() == content_of(*OLD)
    january.warehouse = direct
    january.load()
    assert january.content() == content_of(*NEW)


# --- a full disk ------------------------------------------------------------------------------------------------------

SMALL_DISK = """
create role ingestion_location login password 'test';
create database warehouse;
create tablespace small location '/small/tables';
grant create on tablespace small to ingestion_location;
alter role ingestion_location set default_tablespace = small;
"""


def engine_answers() -> bool:
    return shutil.which("docker") is not None and not subprocess.run(["docker", "info"], capture_output=True).returncode


@pytest.fixture
def small_disk() -> Iterator[Warehouse]:
    """A warehouse whose tables lie on a disk of 16 MB."""
    if not engine_answers() and not os.environ.get("REQUIRE_DOCKER"):
        pytest.skip("there is no Docker engine (docker info fails), and the small disk needs one")

    def docker(*arguments: str) -> str:
        return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()

    name = f"dagster-taxi-test-{uuid.uuid4().hex[:8]}"
    options = (
        "--rm",
        "--detach",
        "--name",
        name,
        "--publish",
        "127.0.0.1::5432",
        "--tmpfs",
        "/small:size=16m,mode=777",
    )
    docker("run", *options, "--env", "POSTGRES_PASSWORD=test", "postgres:17")
    try:
        port = int(docker("port", name, "5432").rpartition(":")[2])
        address: dict[str, Any] = {"host": "127.0.0.1", "port": port, "user": "postgres", "password": "test"}

        def connect(database: str) -> Any:
            with contextlib.suppress(psycopg2.OperationalError):
                return psycopg2.connect(**address, dbname=database)

        wait_until(lambda: connect("postgres") is not None, 60)
        docker("exec", "--user", "postgres", name, "mkdir", "/small/tables")
        for database, statements in (
            ("postgres", SMALL_DISK),
            ("warehouse", "create schema raw_taxis authorization ingestion_location"),
        ):
            with contextlib.closing(connect(database)) as connection:
                connection.autocommit = True
                for statement in filter(str.strip, statements.split(";")):
                    connection.cursor().execute(statement)
        yield Warehouse(host="127.0.0.1", port=port, database="warehouse", user="ingestion_location", password="test")
    finally:
        docker("rm", "--force", "--volumes", name)


def test_a_full_disk_leaves_the_old_month_and_says_so_and_the_next_load_is_right(small_disk: Warehouse) -> None:
    def query(statement: str) -> Any:
        with small_disk.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    with serving(send(b"")) as site:
        january = January(site, small_disk, query, Path())
        january.publish(OLD)
        january.load()
        january.publish((400_000, 0, 3.0))
        with pytest.raises(psycopg2.errors.DiskFull) as failed:
            january.load()
        assert "has no room left on its disk (" in small_disk.explain(failed.value)
        assert january.content() == content_of(*OLD)
        january.publish(NEW)
        january.load()
        assert january.content() == content_of(*NEW)
