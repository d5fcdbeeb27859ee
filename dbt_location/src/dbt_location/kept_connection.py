"""One connection to the instance for all events of a dbt run. Dagster opens one per event otherwise.

To open a connection takes Postgres and the run more CPU time than to store an event.
"""

from typing import Any

from dagster._core.storage.event_log import EventLogStorage
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

KEPT_SECONDS = 3600


def _test(connection: Any, _record: Any, _proxy: Any) -> None:
    """Has the pool replace a connection that Postgres has ended, as a restart of Postgres does."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except connection.Error as error:
        raise DisconnectionError("the connection was ended while it was kept") from error


def keep_connection(storage: EventLogStorage) -> None:
    """Has an event log keep its connection. While more are needed at once, it opens them as before."""
    if not event.contains(QueuePool, "checkout", _test):
        event.listen(QueuePool, "checkout", _test)
    storage.optimize_for_webserver(statement_timeout=0, pool_recycle=KEPT_SECONDS, max_overflow=-1)
