"""Streaming Arrow batches into a table with COPY … (FORMAT binary)."""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg2 import sql
from psycopg2.errors import QueryCanceled
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case


def encode(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[bytes]:
    """Yields the batches in Postgres's binary COPY format, header and trailer included."""
    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    for batch in batches:
        if batch.num_rows:
            yield encoder.write_batch(batch)
    yield encoder.finish()


class _Reader(io.RawIOBase):
    """The chunks as the file that psycopg2 reads a COPY from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._chunk:
            try:
                chunk = next(self._chunks, None)
            except Exception as error:
                self.error = error
                raise
            if chunk is None:
                return 0
            self._chunk = memoryview(chunk)
        size = min(len(buffer), len(self._chunk))
        buffer[:size] = self._chunk[:size]
        self._chunk = self._chunk[size:]
        return size


def copy_batches(
    cursor: Cursor, table: sql.Composable, batches: Iterable[pa.RecordBatch], schema: pa.Schema, *, freeze: bool = False
) -> int:
    """Copies the batches into the table's columns of the same names and returns the number of rows.

    Args:
        cursor: cursor of an open transaction.
        table: the target, quoted.
        batches: batches of exactly ``schema``.
        schema: Arrow types that correspond one to one to the columns' types.
        freeze: write the rows already frozen; only for a table created in the same transaction.

    Raises:
        psycopg2.Error: the server refused the rows.
        Exception: whatever the batches raised.
    """
    statement = sql.SQL("copy {} ({}) from stdin (format binary{})").format(
        table,
        sql.SQL(", ").join(map(sql.Identifier, schema.names)),
        sql.SQL(", freeze") if freeze else sql.SQL(""),
    )
    # 1 MiB a read: psycopg2's default of 8 KiB costs a call into Python per 8 KiB.
    reader = _Reader(encode(batches, schema))
    try:
        cursor.copy_expert(statement, reader, size=1 << 20)
    except QueryCanceled:
        # psycopg2 reports what went wrong while it read as a cancelled COPY; the caller needs the error itself.
        if reader.error is not None:
            raise reader.error from None
        raise
    return cursor.rowcount
