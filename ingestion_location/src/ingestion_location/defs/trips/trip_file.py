"""Reading a TLC trip file as batches of canonical trips."""

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion_location.bounds import MB, Bounds
from ingestion_location.defs.trips.trip_schema import FileMapping, TripFileError, map_columns, to_canonical
from ingestion_location.load_errors import check_bound, misfit_of

# Rows decoded and cast at a time.
BATCH_ROWS = 16_384
# The same for texts without a dictionary, each of which may be large.
FEW_ROWS = 512
# Bytes read from a column chunk at a time: a file with a single row group does not have to fit into memory.
BUFFER_BYTES = 1 << 18
MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
ENCRYPTED = "the file is encrypted. Nothing was loaded; the source must publish it without encryption."


class TripFile:
    """An open trip file; ``mapping`` is from canonical columns to the file's columns."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Opens the file, or raises a LoadError that calls it ``name``."""
        self._bounds = Bounds()
        _check_form(file, name, self._bounds)
        with _reading(name):
            opened = pq.ParquetFile(file)
        metadata = opened.metadata
        _check_bounds(metadata, name, self._bounds)
        with _reading(name):
            schema = opened.schema_arrow
            names = schema.names
        for number, column in enumerate(names, start=1):
            # The ledger has the names of unknown columns.
            where = f"{name}: the name of column {number}"
            check_bound(self._bounds, "tlc_max_text_bytes", len(column), where)
            if wrong := misfit_of(column.encode()):
                raise TripFileError(
                    f"{where}, {column!r}, {wrong}. Nothing was loaded; compare the file with the TLC's."
                )
        self.mapping: FileMapping = map_columns(name, names)
        self.rows: int = metadata.num_rows
        self._columns = sorted(self.mapping.source_by_name.values())
        # Before anything is decoded, whose size depends on the type.
        to_canonical(
            pa.RecordBatch.from_pylist([], pa.schema([schema.field(each) for each in self._columns])), self.mapping
        )
        self._texts = [each for each in self._columns if _is_text(schema.field(each).type)]
        self._file = file

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields the trips in the order of the file, in batches of the mapping's schema, or raises a LoadError."""
        name = self.mapping.file
        reader = self._decoded()
        rows = 0
        while rows <= self.rows:
            with _reading(name):
                batch = next(reader, None)
            if batch is None:
                break
            for column in self._texts:
                self._check_texts(batch.column(column), column, rows)
            yield to_canonical(batch, self.mapping, rows)
            rows += batch.num_rows
        if rows != self.rows:
            raise TripFileError(f"{name}: {_damaged(f'{rows:,} rows decoded, {self.rows:,} announced')}")

    def _decoded(self) -> Iterator[pa.RecordBatch]:
        """Yields the batches as they are in the file, with texts as dictionaries, which store a repeated text once.

        Arrow cannot do this for all encodings. From where it fails, texts are decoded one by one, in small batches.
        """
        done = 0
        for texts, most_rows in ((self._texts, BATCH_ROWS), ([], FEW_ROWS)):
            parquet = pq.ParquetFile(
                self._file,
                read_dictionary=texts,
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            # Decoding has a thread already (binary_copy.py); more threads would compete with the server for its core.
            reader = parquet.iter_batches(batch_size=most_rows, columns=self._columns, use_threads=False)
            skip = done
            try:
                for batch in reader:
                    new = batch.slice(min(skip, batch.num_rows))
                    skip -= batch.num_rows - new.num_rows
                    if new.num_rows:
                        done += new.num_rows
                        yield new
                return
            except OSError as error:
                if not texts or "Not yet implemented" not in str(error):
                    raise

    def _check_texts(self, array: pa.Array, column: str, rows_before: int) -> None:
        """Refuses a text that is too long, or that Postgres cannot store."""
        array = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        texts = array.dictionary
        # Arrow does not check the codes of a damaged file, and reads what is elsewhere in memory.
        last = pc.max(array.indices).as_py()
        if last is not None and not (0 <= pc.min(array.indices).as_py() <= last < len(texts)):
            raise TripFileError(f"{self.mapping.file}: {_damaged(f'column {column} has a code without a text')}")
        most = self._bounds.tlc_max_text_bytes
        try:
            texts.validate(full=True)
            found = pc.any(pc.or_(pc.match_substring(texts, "\0"), pc.greater(pc.binary_length(texts), most)))
            if not found.as_py():
                return
        except pa.ArrowInvalid:
            pass  # not UTF-8
        for code, text in enumerate(texts.cast(pa.large_binary()).to_pylist()):
            row = pc.index(array.indices, pa.scalar(code, array.indices.type)).as_py()
            if text is None or row < 0:
                continue  # in no row
            where = f"{self.mapping.file}: column {column}, row {rows_before + row + 1:,}"
            check_bound(self._bounds, "tlc_max_text_bytes", len(text), where)
            if wrong := misfit_of(text):
                raise TripFileError(
                    f"{where}: the text {text!r} {wrong}. Nothing was loaded; compare the file with the TLC's and load "
                    "the month again."
                )


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(of(kind) for of in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _check_bounds(metadata: pq.FileMetaData, name: str, bounds: Bounds) -> None:
    check_bound(bounds, "tlc_max_columns", metadata.num_columns, name)
    check_bound(bounds, "tlc_max_rows", metadata.num_rows, name)
    for number in range(metadata.num_row_groups):
        # Not the sizes of its columns: asking a damaged file for them ends the process.
        size = metadata.row_group(number).total_byte_size
        check_bound(bounds, "tlc_max_row_group_mb", size / MB, f"{name}, row group {number + 1}")


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turns whatever Arrow raises on a file that is damaged or encrypted into a TripFileError."""
    try:
        yield
    except Exception as error:
        if "crypt" in str(error).lower():
            raise TripFileError(f"{name}: {ENCRYPTED}") from error
        raise TripFileError(f"{name}: {_damaged(error)}") from error


def _damaged(reason: object) -> str:
    return f"the file is damaged ({reason}). Nothing was loaded; launch the run again to fetch it anew."


def _check_form(file: IO[bytes], name: str, bounds: Bounds) -> None:
    """Refuses files that are not whole parquet files, with a message that says what they are."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(256)
    file.seek(max(size - 8, 0))
    metadata_bytes, tail = int.from_bytes(file.read(4), "little"), file.read()
    file.seek(0)
    if not head:
        raise TripFileError(f"{name}: the file is empty. Nothing was loaded; launch the run again later.")
    if head.startswith(ENCRYPTED_MAGIC):
        raise TripFileError(f"{name}: {ENCRYPTED}")
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
    check_bound(bounds, "tlc_max_metadata_mb", min(metadata_bytes, size) / MB, name)


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
