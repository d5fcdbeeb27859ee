"""A file that is not a whole parquet file is refused with a message that says what it is."""

import base64
import contextlib
import io
import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.eras import ERAS, table_of
from ingestion_location.bounds import Bounds
from ingestion_location.defs.trips import trip_file
from ingestion_location.defs.trips.trip_file import TripFile
from ingestion_location.defs.trips.trip_schema import TripFileError
from ingestion_location.load_errors import LoadError, OutOfBounds, check_bound
from pyarrow.parquet.encryption import CryptoFactory, EncryptionConfiguration, KmsClient, KmsConnectionConfig

TRIP = table_of(ERAS["yellow", "2023-02"])


def written(trips: int = 1, store: int = 0, **options: object) -> bytes:
    """A trip file; its metadata has ``store`` bytes that nothing needs."""
    file = io.BytesIO()
    table = TRIP.take([0] * trips) if trips else TRIP.slice(1)
    pq.write_table(table.replace_schema_metadata({"note": "x" * store} if store else None), file, **options)
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


@pytest.mark.parametrize(
    ("setting", "value", "content", "place"),
    [
        ("TLC_MAX_COLUMNS", "5", {}, ""),
        ("TLC_MAX_ROWS", "199", {}, ""),
        ("TLC_MAX_METADATA_MB", "1", {"store": 2_000_000}, ""),
        (
            "TLC_MAX_ROW_GROUP_MB",
            "1",
            {"trips": 60_000, "row_group_size": 55_000, "use_dictionary": False},
            ", row group 1",
        ),
    ],
)
def test_a_file_beyond_a_bound_is_refused_by_the_settings_name_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, content: dict[str, int], place: str
) -> None:
    options = {"trips": 200, **content}
    file = written(**options)
    TripFile(io.BytesIO(file), "january.parquet")
    monkeypatch.setenv(setting, value)
    with pytest.raises(OutOfBounds, match=rf"^january\.parquet{place}: the .* {setting}={value} is the most that"):
        TripFile(io.BytesIO(file), "january.parquet")


def test_a_number_beyond_a_bound_is_shown_with_all_of_its_digits() -> None:
    with pytest.raises(
        OutOfBounds, match=r"^a: the number of rows is at least 123,456,789, and TLC_MAX_ROWS=100000000"
    ):
        check_bound(Bounds(), "tlc_max_rows", 123_456_789, "a")
    with pytest.raises(OutOfBounds, match=r"^a: the size in MB is at least 1,234\.57, and TLC_MAX_FILE_MB=1000"):
        check_bound(Bounds(), "tlc_max_file_mb", 1234.5678, "a")


def flags(*flags: bytes | None) -> bytes:
    """A trip file with these values of store_and_fwd_flag, in row groups of 30 rows."""
    column = TRIP.schema.get_field_index("store_and_fwd_flag")
    # Arrow writes any bytes as text.
    texts = pa.array(flags, pa.large_binary()).view(pa.large_string())
    file = io.BytesIO()
    table = TRIP.take([0] * len(flags))
    pq.write_table(table.set_column(column, "store_and_fwd_flag", texts), file, row_group_size=30)
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"N\0", r"the text b'N\\x00' has a NUL character"),
        (b"\xff", r"the text b'\\xff' is not UTF-8"),
        (b"\xed\xa0\x80", "is not UTF-8"),
    ],
)
def test_a_text_that_postgres_cannot_store_is_refused_with_file_column_and_row(
    monkeypatch: pytest.MonkeyPatch, text: bytes, message: str
) -> None:
    monkeypatch.setattr(trip_file, "BATCH_ROWS", 20)
    content = flags(*[b"N", None, b"Y"] * 33, text, b"N")
    with pytest.raises(TripFileError, match=rf"^january\.parquet: column store_and_fwd_flag, row 100: .*{message}"):
        rows(content)


def test_a_long_text_that_is_repeated_is_refused_before_it_takes_its_space_in_every_row() -> None:
    column = TRIP.schema.get_field_index("store_and_fwd_flag")
    texts = pa.DictionaryArray.from_arrays([0] * 9 + [1] * 10_000, ["N", "x" * 1_000_000])
    file = io.BytesIO()
    pq.write_table(TRIP.take([0] * len(texts)).set_column(column, "store_and_fwd_flag", texts), file)
    with pytest.raises(OutOfBounds, match=r"column store_and_fwd_flag, row 10: .* TLC_MAX_TEXT_BYTES=1000 is the most"):
        rows(file.getvalue())
    assert pa.default_memory_pool().max_memory() < 500_000_000


@pytest.mark.parametrize(
    ("name", "message"), [("a\0", "has a NUL character"), ("x" * 2_000, "TLC_MAX_TEXT_BYTES=1000")]
)
def test_a_name_of_a_column_that_the_ledger_cannot_store_is_refused(name: str, message: str) -> None:
    file = io.BytesIO()
    pq.write_table(TRIP.append_column(name, pa.array([1])), file)
    with pytest.raises(LoadError, match=rf"^january\.parquet: the name of column {TRIP.num_columns + 1}.*{message}"):
        TripFile(file, "january.parquet")


def test_a_column_of_a_type_that_does_not_fit_is_refused_before_it_is_decoded() -> None:
    extra = TRIP.schema.get_field_index("extra")
    file = io.BytesIO()
    pq.write_table(TRIP.set_column(extra, "extra", pa.array([[1.0]])), file)
    with pytest.raises(TripFileError, match=r"column extra \(extra\) is of type list<"):
        TripFile(file, "january.parquet")


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_text_arrives_in_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str, kind: pa.DataType) -> None:
    monkeypatch.setattr(trip_file, "BATCH_ROWS", 30)
    monkeypatch.setattr(trip_file, "FEW_ROWS", 7)
    column = TRIP.schema.get_field_index("store_and_fwd_flag")
    texts = [["Y", "N", None, ""][number % 4] for number in range(100)]
    table = TRIP.take([0] * 100).set_column(column, "store_and_fwd_flag", pa.array(texts, kind))
    others = [name for name in table.column_names if name != "store_and_fwd_flag"]
    encodings = {"store_and_fwd_flag": encoding}
    pq.write_table(table, file := io.BytesIO(), use_dictionary=others, column_encoding=encodings, row_group_size=40)
    found = [text for batch in TripFile(file, "x").batches() for text in batch.column("store_and_fwd_flag").to_pylist()]
    assert found == texts


class KeyClient(KmsClient):  # type: ignore[misc]
    """Keeps a key by writing it down."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize("plaintext_footer", [False, True])
def test_an_encrypted_file_is_called_encrypted(plaintext_footer: bool) -> None:
    configuration = EncryptionConfiguration(
        "key", column_keys={"key": ["extra"]}, plaintext_footer=plaintext_footer, double_wrapping=False
    )
    properties = CryptoFactory(lambda _: KeyClient()).file_encryption_properties(KmsConnectionConfig(), configuration)
    file = io.BytesIO()
    with pq.ParquetWriter(file, TRIP.schema, encryption_properties=properties) as writer:
        writer.write_table(TRIP)
    with pytest.raises(
        TripFileError, match=r"^january\.parquet: the file is encrypted\. .* must publish it without encr"
    ):
        rows(file.getvalue())
