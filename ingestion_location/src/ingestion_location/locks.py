"""Taking a database lock without blocking others for long."""

import random
import time

from psycopg2 import sql
from psycopg2.errors import LockNotAvailable
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.load_errors import LoadError
from ingestion_location.progress import Log

# Timeout of one attempt. Every session that asks for the table while an exclusive lock is waited for queues behind it,
# readers too. It is longer than deadlock_timeout, after which Postgres cancels an autovacuum that holds the lock.
ATTEMPT_SECONDS = 2.0
GIVE_UP_SECONDS = 900.0


class LockError(LoadError):
    """A lock was not free in time; the message names who held it, and the next step."""

    transient = True


def take_lock(cursor: Cursor, statement: sql.Composable, holder: str, log: Log) -> None:
    """Executes a statement that takes a lock until the end of the transaction, in short attempts.

    Between two attempts the run can be stopped, and the sessions that queued behind the attempt proceed.

    Args:
        statement: takes the lock and does nothing else.
        holder: who may hold the lock, for the log and the error.

    Raises:
        LockError: the lock was not free within ``GIVE_UP_SECONDS``.
    """
    deadline = time.monotonic() + GIVE_UP_SECONDS
    logged = False
    cursor.execute("set local lock_timeout = %s", (round(ATTEMPT_SECONDS * 1000),))
    cursor.execute("savepoint before_lock")
    while True:
        try:
            cursor.execute(statement)
            break
        except LockNotAvailable:
            cursor.execute("rollback to savepoint before_lock")
        if time.monotonic() > deadline:
            raise LockError(
                f"waited {GIVE_UP_SECONDS:,.0f} s for {holder}. The month that was there stays. pg_stat_activity and "
                "pg_locks show the session; end it, or launch the run again later."
            )
        if not logged:
            log(f"waiting for {holder}")
            logged = True
        time.sleep(random.uniform(0.2, 1.0))
    cursor.execute("release savepoint before_lock")
    cursor.execute("set local lock_timeout = default")
