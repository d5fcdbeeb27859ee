"""Streaming Arrow batches into a table with COPY … (FORMAT binary)."""

import io
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg2 import sql
from psycopg2.errors import QueryCanceled
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case

# Rows encoded at a time. Encoding holds Python's lock, so long pieces keep the thread that feeds the server waiting:
# with 2,048 rows a load of 3 million took a sixth longer (medians of 7 rounds in turns: 4.43 s and 3.81 s).
ENCODE_ROWS = 512
# Encoded pieces that wait for the server, about a hundred kilobytes each.
AHEAD = 32
# Handed to libpq at a time: with less the calls into Python cost, with more the server runs dry while libpq refills the
# socket.
READ_BYTES = 1 << 16

Encoded = tuple[bytes, int]


def encode(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[Encoded]:
    """Yields the batches in Postgres's binary COPY format, each with its number of rows; header and trailer too."""
    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header(), 0
    for batch in batches:
        for first in range(0, batch.num_rows, ENCODE_ROWS):
            piece = batch.slice(first, ENCODE_ROWS)
            yield encoder.write_batch(piece), piece.num_rows
    yield encoder.finish(), 0


def ahead(items: Iterator[Encoded]) -> Generator[Encoded, None, None]:
    """Yields the items, which a thread makes while the caller processes earlier ones; at most ``AHEAD`` wait.

    The thread ends with the iteration, however that ends. Errors of the items are raised.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as thread:
        waiting: deque[Future[Encoded | None]] = deque(thread.submit(next, items, None) for _ in range(AHEAD))
        try:
            while (item := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


class _Reader(io.RawIOBase):
    """The encoded batches as the file that psycopg2 reads a COPY from."""

    def __init__(self, items: Iterator[Encoded], on_rows: Callable[[int], None]) -> None:
        self._items = items
        self._on_rows = on_rows
        self._rest = b""
        self.error: BaseException | None = None

    def read(self, size: int = -1, /) -> bytes:
        try:
            while not self._rest:
                item = next(self._items, None)
                if item is None:
                    return b""
                self._rest = item[0]
                self._on_rows(item[1])
        except BaseException as error:
            self.error = error
            raise
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk


def copy_batches(
    cursor: Cursor,
    table: sql.Composable,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    freeze: bool = False,
    on_rows: Callable[[int], None] = lambda _: None,
) -> int:
    """Copies the batches into the table's columns of the same names and returns the number of rows.

    Decoding and encoding run in a thread while the server processes earlier rows. Errors of the batches are raised.

    Args:
        batches: batches of exactly ``schema``; they are made in another thread.
        schema: Arrow types that correspond one to one to the columns' types.
        freeze: write the rows already frozen; only for a table created in the same transaction.
        on_rows: called with the number of rows of each piece as it is sent.
    """
    statement = sql.SQL("copy {} ({}) from stdin (format binary{})").format(
        table,
        sql.SQL(", ").join(map(sql.Identifier, schema.names)),
        sql.SQL(", freeze") if freeze else sql.SQL(""),
    )
    items = ahead(encode(batches, schema))
    reader = _Reader(items, on_rows)
    try:
        cursor.copy_expert(statement, reader, size=READ_BYTES)
    except QueryCanceled:
        # psycopg2 reports what went wrong while it read as a cancelled COPY; the caller needs the error itself.
        if reader.error is not None:
            raise reader.error from None
        raise
    finally:
        items.close()
    return cursor.rowcount
