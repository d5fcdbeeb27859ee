"""The connection to the warehouse."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import dagster as dg
import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.settings import read_port

# A backend whose client is gone ends within seconds, also while it waits for a lock: by asking the socket, and over a
# network that swallowed the goodbye, by keepalives.
_SESSION = (
    "-c client_connection_check_interval=5s"
    " -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
)


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the warehouse is and who connects.

    An empty password leaves the choice to libpq, which reads the file that PGPASSFILE names: so a container carries a
    mounted file, not a secret in its environment.
    """

    host: str
    port: int
    database: str
    user: str
    password: str

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Warehouse":
        """Reads WAREHOUSE_HOST, _PORT, _DATABASE, _USER and _PASSWORD; all have defaults.

        Raises:
            SettingError: the port is not one.
        """
        return cls(
            host=env.get("WAREHOUSE_HOST", "localhost"),
            port=read_port("WAREHOUSE_PORT", "5432", env),
            database=env.get("WAREHOUSE_DATABASE", "warehouse"),
            user=env.get("WAREHOUSE_USER", "ingestion_location"),
            password=env.get("WAREHOUSE_PASSWORD", ""),
        )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yields a connection whose work is committed as one transaction, or rolled back on any error.

        Raises:
            psycopg2.Error: no connection, or a statement failed.
        """
        connection = psycopg2.connect(
            host=self.host,
            port=self.port,
            dbname=self.database,
            user=self.user,
            password=self.password,
            application_name="ingestion_location",
            connect_timeout=10,
            options=_SESSION,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def is_away(self, error: psycopg2.Error) -> bool:
        """Whether the server could not be reached or the connection was lost, so that another run may succeed."""
        # A plain DatabaseError without a code is libpq's own: a connection that was lost during the commit.
        lost = type(error) is psycopg2.DatabaseError and error.pgcode is None
        return lost or (
            isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
            and not isinstance(error, errors.DiskFull)
        )

    def explain(self, error: psycopg2.Error) -> str:
        """Says what an error of the server or the connection means and what to do."""
        said = str(error).strip().splitlines()
        where = f"the warehouse {self.host}:{self.port}"
        if isinstance(error, errors.DiskFull):
            return (
                f"{where} has no room left on its disk ({said[0]}). What was there stays. Make room, then launch the "
                "run again."
            )
        if self.is_away(error):
            return (
                f"{where} cannot be reached, or the connection to it was lost ({said[0] if said else 'closed'}). What "
                "is there is the old or the new content, never a part. Check WAREHOUSE_HOST and the server, then "
                "launch the run again."
            )
        return f"{where} refused ({' '.join(said)}). What was there stays."
