"""The connection to the warehouse."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extras import NamedTupleCursor


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the warehouse is and who connects; with an empty password, libpq reads the file that PGPASSFILE names."""

    host: str
    port: int
    database: str
    user: str
    password: str

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yields a connection whose work is committed as one transaction, or rolled back on any error.

        Everything that is read through it is of one moment, that of the first statement that reads.
        """
        connection = psycopg2.connect(
            host=self.host,
            port=self.port,
            dbname=self.database,
            user=self.user,
            password=self.password,
            application_name="dbt_location",
            connect_timeout=10,
        )
        try:
            connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ)
            with connection:
                yield connection
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as error:
            raise dg.Failure(
                f"{error.diag.message_primary}. Nothing was changed. Materialize the dbt models that this asset is "
                "made from, stg_zones among them, then this again.",
                allow_retries=False,
            ) from error
        finally:
            connection.close()


def hold_writers(connection: Connection, *tables: str) -> None:
    """Lets writers of tables wait until the transaction ends; readers do not wait. The transaction's first statement.

    Dagster stores an event when an asset yields it. So the event of an asset that yields it inside the transaction is
    older than that of a table that it did not read: the table is committed later, and then the asset is outdated.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"lock table {', '.join(tables)} in share mode")


def rows_of(connection: Connection, statement: str, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """Runs a statement and returns its rows, in which a column is an attribute."""
    cursor: Any
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
