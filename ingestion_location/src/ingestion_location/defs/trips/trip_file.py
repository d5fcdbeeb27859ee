"""Reading a TLC trip file as batches of canonical trips."""

import contextlib
import io
import os
import threading
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
        self._file, self._lock = file, threading.Lock()
        with _reading(name):
            opened = pq.ParquetFile(self._own_place())
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
        self._rows_by_group = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        if (found := sum(self._rows_by_group)) != self.rows:
            raise TripFileError(f"{name}: {_damaged(f'{found:,} rows in its row groups, {self.rows:,} announced')}")
        self._columns = sorted(self.mapping.source_by_name.values())
        # Before anything is decoded, whose size depends on the type.
        to_canonical(
            pa.RecordBatch.from_pylist([], pa.schema([schema.field(each) for each in self._columns])), self.mapping
        )
        self._texts = [each for each in self._columns if _is_text(schema.field(each).type)]
        pickup = self.mapping.source_by_name["pickup_datetime"]
        self._pickups = pickup if schema.field(pickup).type == pa.timestamp("us") else None

    def _own_place(self) -> "_OwnPlace":
        return _OwnPlace(self._file, self._lock)

    def batches(self, start: datetime | None = None, end: datetime | None = None) -> Iterator[pa.RecordBatch]:
        """Yields the trips in the order of the file, in batches of the mapping's schema, or raises a LoadError.

        Args:
            start: trips picked up earlier are left out, and those without a pickup; None for no bound.
            end: trips picked up from then on are left out; None for no bound.
        """
        name = self.mapping.file
        with _reading(name):
            groups = self._groups(start, end)
        rows = sum(self._rows_by_group[: groups.start])
        last = sum(self._rows_by_group[: groups.stop])
        reader = self._decoded(groups)
        while rows <= last:
            with _reading(name):
                batch = next(reader, None)
            if batch is None:
                break
            for column in self._texts:
                self._check_texts(batch.column(column), column, rows)
            canonical = to_canonical(batch, self.mapping, rows)
            if start or end:
                inside = are_in(canonical.column("pickup_datetime"), start, end)
                canonical = canonical if pc.all(inside).as_py() else canonical.filter(inside)
            yield canonical
            rows += batch.num_rows
        if rows != last:
            raise TripFileError(f"{name}: {_damaged(f'{rows:,} rows decoded, {last:,} announced')}")

    def _groups(self, start: datetime | None, end: datetime | None) -> range:
        """The row groups from the first to the last one with trips of ``[start, end)``; all if that is not known.

        The pickups themselves are read, in a tenth of the time of all columns. A row group's statistics would be of
        little use, as a stray widens them to other months, and asking a damaged file for them ends the process.
        """
        groups = range(len(self._rows_by_group))
        if start is end is None or self._pickups is None:
            return groups
        parquet = pq.ParquetFile(self._own_place(), buffer_size=BUFFER_BYTES, pre_buffer=False)

        def has_any(group: int) -> bool:
            batches = parquet.iter_batches(
                batch_size=BATCH_ROWS, row_groups=[group], columns=[self._pickups], use_threads=False
            )
            return any(pc.any(are_in(batch.column(0), start, end)).as_py() for batch in batches)

        found = [group for group in groups if has_any(group)]
        return range(found[0], found[-1] + 1) if found else range(0)

    def _decoded(self, groups: range) -> Iterator[pa.RecordBatch]:
        """Yields the batches as they are in the file, with texts as dictionaries, which store a repeated text once.

        Arrow cannot do this for all encodings. From where it fails, texts are decoded one by one, in small batches.
        """
        done = 0
        for texts, most_rows in ((self._texts, BATCH_ROWS), ([], FEW_ROWS)):
            parquet = pq.ParquetFile(
                self._own_place(),
                read_dictionary=texts,
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            # Decoding has a thread already (binary_copy.py); more threads would compete with the server for its core.
            reader = parquet.iter_batches(
                batch_size=most_rows, row_groups=groups, columns=self._columns, use_threads=False
            )
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


class _OwnPlace(io.RawIOBase):
    """A file that several threads read, each from a place of its own."""

    def __init__(self, file: IO[bytes], lock: threading.Lock) -> None:
        self._file = file
        self._lock = lock
        self._place = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        with self._lock:
            from_end = self._file.seek(0, whence) if whence == os.SEEK_END else 0
        self._place = offset + (self._place if whence == os.SEEK_CUR else from_end)
        return self._place

    def read(self, size: int = -1, /) -> bytes:
        with self._lock:
            self._file.seek(self._place)
            content = self._file.read(size)
        self._place += len(content)
        return content


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
    inside = are_in(batch.column("pickup_datetime"), start, end)
    if pc.all(inside).as_py():
        return batch, batch.slice(0, 0)
    return batch.filter(inside), batch.filter(pc.invert(inside))


def are_in(pickups: pa.Array, start: datetime | None, end: datetime | None) -> pa.BooleanArray:
    """Whether each pickup is in ``[start, end)``, of which one is given; an unknown time is where there is no start."""
    late = pc.greater_equal(pickups, pa.scalar(start, pickups.type)) if start else pa.scalar(True)
    early = pc.less(pickups, pa.scalar(end, pickups.type)) if end else pa.scalar(True)
    return pc.fill_null(pc.and_(late, early), start is None)
