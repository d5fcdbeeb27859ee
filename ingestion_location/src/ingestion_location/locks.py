"""Waiting for a lock of the database without standing in anyone's way for long."""

import random
import time
from typing import Any

from psycopg2 import sql
from psycopg2.errors import LockNotAvailable
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location.progress import Say

# How long one attempt may wait. Whoever comes after a waiting exclusive lock waits behind it, readers too. It is longer
# than deadlock_timeout, after which Postgres makes autovacuum give way.
ATTEMPT_SECONDS = 2.0
GIVE_UP_SECONDS = 900.0


class LockError(RuntimeError):
    """A lock was not to be had; the message says whose, and the next step."""

    # Whether another run may succeed without anyone changing anything.
    retry = True


def take(
    cursor: Cursor,
    statement: sql.Composable,
    arguments: tuple[Any, ...] | None,
    what: str,
    say: Say,
) -> None:
    """Executes a statement that takes a lock until the end of the transaction, in short attempts.

    Between two attempts a signal can end the run, and those who queued behind the attempt get their turn.

    Args:
        cursor: cursor of an open transaction.
        statement: takes the lock and does nothing else.
        arguments: of the statement.
        what: whom the lock waits for, for the log and the error.
        say: takes a line when the wait begins.

    Raises:
        LockError: the lock was not free within ``GIVE_UP_SECONDS``.
    """
    deadline = time.monotonic() + GIVE_UP_SECONDS
    said = False
    cursor.execute("set local lock_timeout = %s", (round(ATTEMPT_SECONDS * 1000),))
    cursor.execute("savepoint before_lock")
    while True:
        try:
            cursor.execute(statement, arguments)
            break
        except LockNotAvailable:
            cursor.execute("rollback to savepoint before_lock")
        if time.monotonic() > deadline:
            raise LockError(
                f"waited {GIVE_UP_SECONDS:,.0f} s for {what}. The month that was there stays. pg_stat_activity and "
                "pg_locks show who it is; end that session, or launch the run again later."
            )
        if not said:
            say(f"waiting for {what}")
            said = True
        time.sleep(random.uniform(0.2, 1.0))
    cursor.execute("release savepoint before_lock")
    cursor.execute("set local lock_timeout = default")
