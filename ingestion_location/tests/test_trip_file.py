"""A file that is not a whole parquet file is refused with a message that says what it is."""

import contextlib
import io
import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.eras import ERAS, table_of
from ingestion_location.defs.trips import trip_file
from ingestion_location.defs.trips.trip_file import TripFile
from ingestion_location.defs.trips.trip_schema import TripFileError

TRIP = table_of(ERAS["yellow", "2023-02"])


def written(trips: int = 1, **options: object) -> bytes:
    """A trip file."""
    file = io.BytesIO()
    pq.write_table(pa.concat_tables([TRIP.slice(1), *[TRIP] * trips]), file, **options)
    return file.getvalue()


def rows(content: bytes) -> int:
    """Reads a file to its end."""
    return sum(batch.num_rows for batch in TripFile(io.BytesIO(content), "january.parquet").batches())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty."),
        (b"<!doctype html><title>Log in</title>", "this is not a parquet file but a web page, beginning b'<!doctype"),
        (b"  \n<?xml version='1.0'?><Error/>", "this is not a parquet file but a web page, beginning "),
        (b"VendorID,tpep_pickup_datetime", "this is not a parquet file but something else, beginning b'VendorID,"),
        (b"PAR1PAR1", "the file is damaged ("),
    ],
)
def test_what_is_not_a_parquet_file_is_called_what_it_is(content: bytes, message: str) -> None:
    with pytest.raises(TripFileError) as refused:
        TripFile(io.BytesIO(content), "january.parquet")
    assert str(refused.value).startswith(f"january.parquet: {message}")


def test_a_file_that_ends_early_is_called_cut_off() -> None:
    whole = written()
    for size in range(8, len(whole), 97):
        with pytest.raises(TripFileError, match=r"^january\.parquet: the file is cut off: its [\d,]+ bytes do not end"):
            TripFile(io.BytesIO(whole[:size]), "january.parquet")


def test_a_file_with_more_behind_its_end_is_called_cut_off() -> None:
    with pytest.raises(TripFileError, match="the file is cut off"):
        TripFile(io.BytesIO(written() + b"more"), "january.parquet")


def test_a_flipped_bit_is_an_error_wherever_the_file_has_a_checksum() -> None:
    whole = written(200, write_page_checksum=True, compression="none", use_dictionary=False)
    first = pq.ParquetFile(io.BytesIO(whole)).metadata.row_group(0).column(0)
    # The page's values are the last 8 bytes for each of the trips.
    end = first.data_page_offset + first.total_compressed_size
    for position in range(end - 200 * 4, end, 11):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        with pytest.raises(TripFileError, match=r"^january\.parquet: the file is damaged \("):
            rows(bytes(flipped))


def test_a_flipped_bit_anywhere_never_loads_fewer_or_more_rows() -> None:
    whole = written(200)
    for position in range(4, len(whole) - 4, 7):
        flipped = bytearray(whole)
        flipped[position] ^= 0x10
        with contextlib.suppress(TripFileError):
            assert rows(bytes(flipped)) == 200


def test_a_file_without_rows_has_no_trips() -> None:
    assert rows(written(0)) == 0


def test_batches_are_small_whatever_the_row_groups_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trip_file, "BATCH_ROWS", 50)
    file = TripFile(io.BytesIO(written(200)), "january.parquet")
    assert [batch.num_rows for batch in file.batches()] == [50] * 4


def test_the_row_of_a_value_that_does_not_fit_is_counted_from_the_first_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trip_file, "BATCH_ROWS", 50)
    passengers = TRIP.schema.get_field_index("passenger_count")
    wrong = TRIP.set_column(passengers, "passenger_count", pa.array([70_000]))
    file = io.BytesIO()
    pq.write_table(pa.concat_tables(itertools.chain([TRIP] * 120, [wrong], [TRIP] * 9)), file)
    with pytest.raises(TripFileError, match=r"column passenger_count .*, row 121: the value 70000 does not fit"):
        rows(file.getvalue())
