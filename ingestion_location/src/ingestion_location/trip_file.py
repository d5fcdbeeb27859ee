"""Reading a TLC trip file as batches of canonical trips."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion_location.trip_schema import FileMapping, TripFileError, map_columns, to_canonical

# Rows decoded at a time: large enough to keep the encoder busy, small enough that memory does not follow the file.
BATCH_ROWS = 65_536


class TripFile:
    """An open trip file.

    Attributes:
        mapping: which of the file's columns is which canonical one.
        rows: number of trips.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Opens the file.

        Args:
            path: local parquet file.
            name: what error messages call it, usually its URL.

        Raises:
            TripFileError: the file is not parquet, or a mandatory column is missing.
        """
        try:
            self._parquet = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise TripFileError(
                f"{name}: this is not a parquet file ({error}). Check TLC_BASE_URL and what the "
                "source answers at this address, then launch the run again."
            ) from error
        self.mapping: FileMapping = map_columns(name, self._parquet.schema_arrow.names)
        self.rows: int = self._parquet.metadata.num_rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields the whole file in its order, every batch in the canonical schema.

        Raises:
            TripFileError: a value does not fit its column, or a part of the file cannot be decoded.
        """
        reader = self._parquet.iter_batches(
            batch_size=BATCH_ROWS, columns=sorted(set(self.mapping.source_by_name.values()))
        )
        while True:
            try:
                batch = next(reader, None)
            except (pa.ArrowInvalid, OSError) as error:
                raise TripFileError(
                    f"{self.mapping.file}: the file is damaged ({error}). Nothing was loaded; launch the run again."
                ) from error
            if batch is None:
                return
            yield to_canonical(batch, self.mapping)


def split_strays(batch: pa.RecordBatch, start: datetime, end: datetime) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Splits a batch into the trips picked up in ``[start, end)`` and the others, those without a pickup included."""
    pickup = batch.column("pickup_datetime")
    inside = pc.and_(
        pc.greater_equal(pickup, pa.scalar(start, pickup.type)), pc.less(pickup, pa.scalar(end, pickup.type))
    )
    inside = pc.fill_null(inside, False)
    if pc.all(inside).as_py():
        return batch, batch.slice(0, 0)
    return batch.filter(inside), batch.filter(pc.invert(inside))
