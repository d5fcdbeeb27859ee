"""The embedded Postgres with the databases, roles, schemas and grants of the project."""

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg2

from demo.server import start_server
from ops.command import ROOT, OpsError
from ops.environment import own_environment
from services.migrate.apply import apply
from services.migrate.walls import apply_walls

# Everything that the demo stores.
STATE = Path(os.environ.get("DEMO_STATE") or ROOT / ".demo").resolve()
REPORTS = STATE / "reports"


@contextlib.contextmanager
def temporary_server() -> Iterator[str]:
    """Starts a server with a temporary data folder, and yields the folder of its socket.

    The folder is not one of pytest's: root starts the server as another user, whose access each new session removes.
    """
    with tempfile.TemporaryDirectory(prefix="data-") as folder, start_server(Path(folder) / "data") as host:
        yield host


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """Starts the demo's server, or joins the one that another command started; yields the environment of its users.

    The server stops when the last command that uses it ends. The environment is also written to ``env`` in the state
    folder, for a shell: ``set -a; . .demo/env``.
    """
    for folder in (ROOT, STATE):
        if found := set(str(folder)) & set('"$`\\'):
            raise OpsError(
                f"{folder}: this path has {' '.join(sorted(found))} in it, which dbt and Postgres hand to a shell. "
                "Move the folder to a path without it."
            )
    home = STATE / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "demo/dagster.yaml", home / "dagster.yaml")
    with start_server(STATE / "postgres") as host:
        create_databases(host)
        settings = {
            "DAGSTER_HOME": str(home),
            "DAGSTER_POSTGRES_URL": f"postgresql+psycopg2://dagster@/dagster?host={host}",
            "WAREHOUSE_HOST": host,
            "REPORTS_DIR": str(REPORTS),
            "REPORTS_URL": REPORTS.as_uri(),
        }
        (STATE / "env").write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()))
        yield {**own_environment(), "DEMO_STATE": str(STATE), **settings}


def create_databases(host: str) -> None:
    """Creates what the services migrate and postgres create in the stack: roles, databases, tables and rights.

    ``host`` is the folder of the server's socket. What is there already is kept.
    """
    dsn = f"host={host} user=postgres"
    apply(dsn)
    with closing(psycopg2.connect(dsn, dbname="dagster")) as connection, connection.cursor() as cursor:
        cursor.execute("select to_regclass('job_ticks')")
        missing = cursor.fetchone() == (None,)
    # The last of Dagster's tables.
    if missing:
        _create_tables(host)
    apply_walls(dsn)


def _create_tables(host: str) -> None:
    import alembic.config
    from dagster_postgres import DagsterPostgresStorage

    # Alembic reads a % in the path of its own folder as syntax. Dagster's settings for it have no such syntax.
    alembic.config.ConfigParser = partial(ConfigParser, interpolation=None)  # type: ignore[assignment, attr-defined]
    owner = urlencode({"host": host, "options": "-c role=dagster_owner"}, quote_via=quote)
    DagsterPostgresStorage(f"postgresql+psycopg2://postgres@/dagster?{owner}")
