"""The connection to the warehouse."""

import contextlib
from collections.abc import Iterator
from typing import Self

import dagster as dg
import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.settings import read_settings


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The warehouse's address, and the role that connects.

    With an empty password libpq reads the file that PGPASSFILE names, which containers have mounted.

    Attributes:
        lock_wait_seconds: how long a load waits for readers of other roles before it ends them.
    """

    host: str
    port: int
    database: str
    user: str
    password: str
    lock_wait_seconds: int = 300

    @classmethod
    def from_env(cls) -> Self:
        names = ("host", "port", "database", "user", "password")
        settings = read_settings()
        address = {name: getattr(settings, f"warehouse_{name}") for name in names}
        return cls(**address, lock_wait_seconds=settings.taxi_lock_wait_seconds)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yields a connection whose work is committed as one transaction, or rolled back on any error."""
        connection = psycopg2.connect(
            host=self.host,
            port=self.port,
            dbname=self.database,
            user=self.user,
            password=self.password,
            application_name="ingestion_location",
            connect_timeout=10,
            # In case the network loses the end of the connection. The role has the server's part of this.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
        with contextlib.closing(connection), connection:
            yield connection

    def is_away(self, error: psycopg2.Error) -> bool:
        """Whether the server could not be reached or the connection was lost, so that another run may succeed."""
        # A plain DatabaseError without a code comes from libpq: the connection was lost during the commit.
        lost = type(error) is psycopg2.DatabaseError and error.pgcode is None
        return lost or (
            isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
            and not isinstance(error, errors.DiskFull)
        )

    def explain(self, error: psycopg2.Error) -> str:
        """The message for an error of the server or the connection, with the next step."""
        lines = str(error).strip().splitlines()
        where = f"the warehouse {self.host}:{self.port}"
        if isinstance(error, errors.DiskFull):
            return (
                f"{where} has no room left on its disk ({lines[0]}). What was there stays. Make room, then launch the "
                "run again."
            )
        if self.is_away(error):
            return (
                f"{where} cannot be reached, or the connection to it was lost ({lines[0] if lines else 'closed'}). It "
                "holds the old content or the new, never a part of it. Check WAREHOUSE_HOST and the server, then "
                "launch the run again."
            )
        return f"{where} refused ({' '.join(lines)}). What was there stays."
