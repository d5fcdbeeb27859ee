"""The connection to the warehouse."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import dagster as dg
import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.settings import read_port


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
        )
        try:
            with connection:
                yield connection
        finally:
            connection.close()
