"""Reading a TLC trip file as batches of canonical trips."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion_location.defs.trips.trip_schema import FileMapping, TripFileError, map_columns, to_canonical

# Rows decoded and cast at a time.
BATCH_ROWS = 16_384
# Bytes read from a column chunk at a time: a file with a single row group does not have to fit into memory.
BUFFER_BYTES = 1 << 18
MAGIC = b"PAR1"


class TripFile:
    """An open trip file; ``mapping`` is from canonical columns to the file's columns."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Opens the file, or raises a TripFileError that calls it ``name``."""
        _check_form(file, name)
        try:
            self._parquet = pq.ParquetFile(
                file, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
            )
        except (pa.ArrowException, OSError) as error:
            raise TripFileError(f"{name}: {_damaged(error)}") from error
        self.mapping: FileMapping = map_columns(name, self._parquet.schema_arrow.names)
        self.rows: int = self._parquet.metadata.num_rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields the trips in the order of the file, in batches of the mapping's schema, or raises a TripFileError."""
        reader = self._parquet.iter_batches(
            batch_size=BATCH_ROWS,
            columns=sorted(self.mapping.source_by_name.values()),
            # Decoding has a thread already (binary_copy.py); more threads would compete with the server for its core.
            use_threads=False,
        )
        rows = 0
        while True:
            try:
                batch = next(reader, None)
            except (pa.ArrowException, OSError) as error:
                raise TripFileError(f"{self.mapping.file}: {_damaged(error)}") from error
            if batch is None:
                break
            yield to_canonical(batch, self.mapping, rows)
            rows += batch.num_rows
        if rows != self.rows:
            raise TripFileError(f"{self.mapping.file}: {_damaged(f'{rows:,} rows decoded, {self.rows:,} announced')}")


def _damaged(reason: object) -> str:
    return f"the file is damaged ({reason}). Nothing was loaded; launch the run again to fetch it anew."


def _check_form(file: IO[bytes], name: str) -> None:
    """Refuses files that are not whole parquet files, with a message that says what they are."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(256)
    file.seek(max(size - len(MAGIC), 0))
    tail = file.read()
    file.seek(0)
    if not head:
        raise TripFileError(f"{name}: the file is empty. Nothing was loaded; launch the run again later.")
    if not head.startswith(MAGIC):
        what = "a web page" if head.lstrip().startswith(b"<") else "something else"
        raise TripFileError(
            f"{name}: this is not a parquet file but {what}, beginning {head[:40]!r}. Check TLC_BASE_URL and what the "
            "source answers at this address, then launch the run again."
        )
    if tail != MAGIC:
        raise TripFileError(
            f"{name}: the file is cut off: its {size:,} bytes do not end as a parquet file does. Nothing was loaded; "
            "launch the run again to fetch it anew."
        )


def split_strays(batch: pa.RecordBatch, start: datetime, end: datetime) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Splits a batch into the trips picked up in ``[start, end)`` and the strays, those without a pickup included."""
    pickup = batch.column("pickup_datetime")
    inside = pc.and_(
        pc.greater_equal(pickup, pa.scalar(start, pickup.type)), pc.less(pickup, pa.scalar(end, pickup.type))
    )
    inside = pc.fill_null(inside, False)
    if pc.all(inside).as_py():
        return batch, batch.slice(0, 0)
    return batch.filter(inside), batch.filter(pc.invert(inside))
