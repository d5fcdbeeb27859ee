"""The connection to the warehouse."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extras import NamedTupleCursor

# Readers of a table wait only for an exclusive lock; replacing a view of this location waits for any lock.
HELD_BY_OTHERS = """
select
    pg_locks.pid,
    pg_stat_activity.usename as role,
    pg_stat_activity.application_name as application,
    string_agg(distinct pg_class.oid::regclass::text, ', ') as tables
from pg_locks
inner join pg_stat_activity on pg_locks.pid = pg_stat_activity.pid
inner join pg_class on pg_locks.relation = pg_class.oid
where
    pg_locks.granted
    and pg_stat_activity.usename <> current_user
    and has_table_privilege(pg_class.oid, 'select')
    and (
        pg_locks.mode = 'AccessExclusiveLock'
        or (pg_class.relkind = 'v' and pg_get_userbyid(pg_class.relowner) = current_user)
    )
group by pg_locks.pid, pg_stat_activity.usename, pg_stat_activity.application_name
order by pg_locks.pid
"""


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

        All statements read the same snapshot, that of the first one that reads.
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
        except psycopg2.errors.LockNotAvailable as error:
            raise dg.Failure(self.explain_lock_timeout()) from error
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as error:
            raise dg.Failure(
                f"{error.diag.message_primary}. Nothing was changed. Materialize the dbt models that this asset is "
                "made from, stg_zones among them, then this again.",
                allow_retries=False,
            ) from error
        finally:
            connection.close()

    def explain_lock_timeout(self) -> str:
        """The message for a session that did not get a lock in time, with the sessions that may have held it."""
        with self.transaction() as connection:
            held = rows_of(connection, HELD_BY_OTHERS)
        holders = "; ".join(
            f"the role {row.role} (process {row.pid}, application {row.application!r}) has locked {row.tables}"
            for row in held
        )
        return (
            "A lock was not free within TAXI_LOCK_WAIT_SECONDS. Nothing more was changed. "
            f"{holders or 'No other role holds it any more'}. Days are built again automatically once their month is "
            "loaded; otherwise ask the team of that role to end the session, then launch the run again."
        )


def block_writers(connection: Connection, *tables: str) -> None:
    """Blocks writers of tables until the transaction ends, but not readers. Must be the transaction's first statement.

    Dagster stores an event when an asset yields it. If the asset yields it inside the transaction, a table that it did
    not read is committed later, so the table's event is newer and the asset is outdated.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"lock table {', '.join(tables)} in share mode")


def rows_of(connection: Connection, statement: str, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """Runs a statement and returns its rows, in which a column is an attribute."""
    cursor: Any
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
