"""Taking a database lock without blocking others for long, and without being blocked by them for long."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue

import psycopg2
from psycopg2 import sql
from psycopg2.errors import DeadlockDetected, DuplicateObject, DuplicateTable, LockNotAvailable, UniqueViolation
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from ingestion_location.load_errors import LoadError
from ingestion_location.progress import Log

# Timeout of one attempt. Every session that asks for the table while an exclusive lock is waited for queues behind it,
# readers too. It is longer than deadlock_timeout, after which Postgres cancels an autovacuum that holds the lock.
ATTEMPT_SECONDS = 2.0
GIVE_UP_SECONDS = 900.0
# The errors of a `create table` if another session has created the same table, or its type, meanwhile.
CREATED_MEANWHILE = (UniqueViolation, DuplicateTable, DuplicateObject)


class LockError(LoadError):
    """A lock was not free in time; the message names who held it, and the next step."""

    transient = True


@dataclass(frozen=True)
class Blocker:
    """A session that a load waits for.

    Attributes:
        since: when its transaction began; None if it has none any more.
        ended: whether it was ended, as it only read and others had waited for long enough.
    """

    pid: int
    role: str
    application: str
    since: datetime | None
    ended: bool

    def __str__(self) -> str:
        since = f", in a transaction since {self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"the role {self.role} (process {self.pid}, application {self.application!r}{since})"


Watch = SimpleQueue[list[Blocker] | psycopg2.Error]


def take_lock(cursor: Cursor, statement: sql.Composable, holder: str, log: Log, reader_timeout: float) -> None:
    """Executes a statement that takes a lock until the end of the transaction, in short attempts.

    Between two attempts the run can be stopped, and the sessions that queued behind the attempt proceed. The blocking
    sessions are logged.

    Args:
        statement: takes the lock and does nothing else; it may be a ``create table``, whose name is the lock.
        holder: who may hold the lock, for the log and the error.
        reader_timeout: seconds after which sessions of other roles that only read are ended.

    Raises:
        LockError: the lock was not free within ``GIVE_UP_SECONDS``.
    """
    cursor.execute("set local lock_timeout = %s", (round(ATTEMPT_SECONDS * 1000),))
    cursor.execute("savepoint before_lock")
    if not _attempt(cursor, statement):
        log(f"waiting for {holder}")
        _keep_trying(cursor, statement, holder, log, reader_timeout)
    cursor.execute("release savepoint before_lock")
    cursor.execute("set local lock_timeout = default")


def create_and_commit(connection: Connection, create: Callable[[Cursor], None]) -> None:
    """Creates missing tables in its own transaction; other sessions may create them at the same time.

    Args:
        connection: open connection, without a transaction.
        create: creates what is missing; called a second time if another session was first.
    """
    with connection.cursor() as cursor:
        try:
            create(cursor)
        except CREATED_MEANWHILE:
            # What the other session created is committed, or this one would still wait.
            connection.rollback()
            create(cursor)
    connection.commit()


def _attempt(cursor: Cursor, statement: sql.Composable) -> bool:
    try:
        cursor.execute(statement)
    except (LockNotAvailable, DeadlockDetected, *CREATED_MEANWHILE):
        cursor.execute("rollback to savepoint before_lock")
        return False
    return True


def _keep_trying(cursor: Cursor, statement: sql.Composable, holder: str, log: Log, reader_timeout: float) -> None:
    began = time.monotonic()
    last: list[Blocker] = []
    logged: set[tuple[int, bool]] = set()

    def report(watch: Watch) -> None:
        nonlocal last
        while not watch.empty():
            seen = watch.get()
            if isinstance(seen, psycopg2.Error):
                log(f"cannot see which sessions block it: {seen}")
                continue
            last = seen
            for blocker in seen:
                if (blocker.pid, blocker.ended) not in logged:
                    logged.add((blocker.pid, blocker.ended))
                    ended = f"ended, after {reader_timeout:,.0f} s, as it only reads:"
                    log(f"{ended if blocker.ended else 'blocked by'} {blocker}")

    with _watching(cursor.connection, lambda: time.monotonic() - began >= reader_timeout) as watch:
        got_it = False
        while not got_it and time.monotonic() - began < GIVE_UP_SECONDS:
            time.sleep(random.uniform(0.1, 0.5) * ATTEMPT_SECONDS)
            got_it = _attempt(cursor, statement)
            report(watch)
    # The lock may be free before the watch says whom it has ended.
    report(watch)
    if not got_it:
        blocked_by = f": {'; '.join(map(str, last))}" if last else ""
        raise LockError(
            f"waited {GIVE_UP_SECONDS:,.0f} s for {holder}{blocked_by}. The month that was there stays, and the sensor "
            "requests the load again. If the session does not end by itself, ask its team to end it."
        )


@contextlib.contextmanager
def _watching(connection: Connection, end_readers: Callable[[], bool]) -> Iterator[Watch]:
    """Watches from a second session which sessions block this one, and ends readers.

    Readers are ended while this session is in the queue, so that no other reader overtakes it. Yields what was seen:
    the blocking sessions at one moment, or the error that ended the watch.
    """
    stop = threading.Event()
    seen: Watch = SimpleQueue()

    def watch() -> None:
        try:
            # A connection masks its password in what it shows of itself.
            second = psycopg2.connect(connection.dsn, password=connection.info.password)
            second.autocommit = True
            with contextlib.closing(second), second.cursor() as cursor:
                while not stop.wait(ATTEMPT_SECONDS / 20):
                    cursor.execute(
                        "select pid, role, application, since, ended from locks.in_the_way(%s, %s)",
                        (connection.info.backend_pid, end_readers()),
                    )
                    if blockers := [Blocker(*row) for row in cursor.fetchall()]:
                        seen.put(blockers)
        except psycopg2.Error as error:
            seen.put(error)

    thread = threading.Thread(target=watch, name="blocking sessions")
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
