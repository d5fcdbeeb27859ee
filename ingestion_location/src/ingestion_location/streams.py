"""Threads that each work in a transaction of their own, and commit together or not at all."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from ingestion_location.warehouse import connect_again

Item = TypeVar("Item")
Work = Callable[[Cursor], None]


class Streams:
    """Work that threads do while the body of the ``with`` does its own.

    When the body fails, or one of the threads, the others stop and nothing is committed. The first cause is raised.
    After ``commit``, a stream whose connection is lost can leave the others committed.
    """

    def __init__(self, connection: Connection, work: Sequence[Work]) -> None:
        """Prepares a stream for each piece of work, whose connection is to the same server as the given one."""
        self._connection = connection
        self._work = work
        # All of them meet here: when the work is done, and when it may be committed.
        self._meeting = threading.Barrier(1 + len(work))
        self._threads = ThreadPoolExecutor(max(1, len(work)), thread_name_prefix="stream")

    def __enter__(self) -> Self:
        self._streams = [self._threads.submit(self._run, work) for work in self._work]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._meeting.abort()
        self._threads.shutdown()
        if isinstance(error, threading.BrokenBarrierError):
            causes = [stream.exception() for stream in self._streams]
            raise next(
                cause for cause in causes if not isinstance(cause, threading.BrokenBarrierError | None)
            ) from None

    def _run(self, work: Work) -> None:
        try:
            with contextlib.closing(connect_again(self._connection)) as own, own, own.cursor() as cursor:
                work(cursor)
                self._meeting.wait()
                self._meeting.wait()
        except BaseException:
            self._meeting.abort()
            raise

    def until_one_fails(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields the items, or raises an error once another stream has failed."""
        for item in items:
            if self._meeting.broken:
                raise threading.BrokenBarrierError
            yield item

    def wait(self) -> None:
        """Returns when all streams have done their work and committed nothing of it."""
        self._meeting.wait()

    def commit(self) -> None:
        """Commits the work of all streams; called after ``wait``."""
        self._meeting.wait()
        for stream in self._streams:
            stream.result()
