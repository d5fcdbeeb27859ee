"""Files of all eras, whatever their columns' names and types, become trips in one schema."""

import random
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from helpers.eras import ERAS, Era, table_of, trip_of
from ingestion_location.defs.trips.trip_file import split_strays
from ingestion_location.defs.trips.trip_schema import ARROW_SCHEMA, TripFileError, map_columns, to_canonical

MANDATORY = ["tpep_pickup_datetime", "tpep_dropoff_datetime", "PULocationID", "DOLocationID", "total_amount"]
NOON = datetime(2023, 1, 1, 12)


def canonical(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """One canonical batch of these columns of a file."""
    batch = pa.RecordBatch.from_pydict(columns)
    return to_canonical(batch, map_columns("file", batch.schema.names))


def one_trip(**columns: pa.Array) -> dict[str, pa.Array]:
    """The mandatory columns of one trip, and others."""
    time = pa.array([NOON], pa.timestamp("us"))
    zone = pa.array([1], pa.int64())
    base = {"tpep_pickup_datetime": time, "tpep_dropoff_datetime": time, "PULocationID": zone, "DOLocationID": zone}
    return {**base, "total_amount": pa.array([1.0]), **columns}


@pytest.mark.parametrize("prefix", ["tpep", "lpep"])
@pytest.mark.parametrize("spell", [str, str.lower, str.upper])
def test_a_column_is_found_in_any_case_and_of_either_taxi_type(prefix: str, spell: type[str]) -> None:
    names = [spell(name.replace("tpep", prefix)) for name in MANDATORY]
    assert set(map_columns("file", names).source_by_name) == {
        "pickup_datetime",
        "dropoff_datetime",
        "pickup_zone_id",
        "dropoff_zone_id",
        "total_amount",
    }


@pytest.mark.parametrize("missing", MANDATORY)
def test_a_missing_mandatory_column_is_named_with_the_file(missing: str) -> None:
    with pytest.raises(TripFileError) as refused:
        map_columns("january.parquet", [name for name in MANDATORY if name != missing])
    assert "january.parquet: the mandatory column " in str(refused.value)
    assert missing.lower() in str(refused.value).split("(")[0]


def test_a_column_that_no_one_knows_is_reported_and_left_out() -> None:
    mapping = map_columns("file", [*MANDATORY, "mood_of_driver"])
    assert (mapping.unknown, "mood_of_driver" in mapping.source_by_name) == (("mood_of_driver",), False)


@pytest.mark.parametrize(("taxi_type", "month"), ERAS)
def test_a_file_of_every_era_becomes_the_same_trip(taxi_type: str, month: str) -> None:
    era = ERAS[taxi_type, month]
    (batch,) = table_of(era).to_batches()
    (trip,) = to_canonical(batch, map_columns("file", batch.schema.names)).to_pylist()
    assert dict.fromkeys(ARROW_SCHEMA.names) | trip == trip_of(era)


@pytest.mark.parametrize(("taxi_type", "month"), ERAS)
def test_a_file_of_every_era_has_the_columns_that_are_expected_of_it(taxi_type: str, month: str) -> None:
    names = [spelled for spelled, _ in ERAS[taxi_type, month].values()]
    assert map_columns("file", names).missing(taxi_type, date.fromisoformat(f"{month}-01")) == ()


def test_a_column_that_a_later_file_no_longer_has_is_reported() -> None:
    later: Era = {name: column for name, column in ERAS["yellow", "2025-01"].items() if name != "extra"}
    names = [spelled for spelled, _ in later.values()]
    assert map_columns("file", names).missing("yellow", date(2025, 2, 1)) == ("extra",)


def test_two_columns_that_would_become_the_same_one_are_an_error_that_names_both() -> None:
    with pytest.raises(
        TripFileError, match=r"^file: the columns airport_fee and Airport_fee would both become airport"
    ):
        map_columns("file", [*MANDATORY, "airport_fee", "Airport_fee"])


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.int64())],
)
def test_a_dictionary_or_a_large_string_is_what_it_stands_for(kind: pa.DataType) -> None:
    is_number = pa.types.is_dictionary(kind) and pa.types.is_integer(kind.value_type)
    name, value = ("passenger_count", 3) if is_number else ("store_and_fwd_flag", "N")
    array = pa.array([value]).cast(kind) if not is_number else pa.array([value], pa.int64()).dictionary_encode()
    assert canonical(one_trip(**{name: array})).column(name).to_pylist() == [value]


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.null()])
def test_a_missing_value_stays_missing_whatever_its_type(kind: pa.DataType) -> None:
    assert canonical(one_trip(passenger_count=pa.array([None], kind))).column("passenger_count").to_pylist() == [None]


@pytest.mark.parametrize(
    ("amount", "absurd"), [(10_000.0, set()), (-10_000.5, {"total_amount"}), (1e300, {"total_amount"}), (None, set())]
)
def test_a_column_with_an_absurd_number_is_noted_and_the_number_kept(amount: float | None, absurd: set[str]) -> None:
    batch = pa.RecordBatch.from_pydict(one_trip(total_amount=pa.array([amount], pa.float64())))
    mapping = map_columns("file", batch.schema.names)
    assert to_canonical(batch, mapping).column("total_amount").to_pylist() == [amount]
    assert mapping.absurd == absurd


DECIMALS = (
    [pa.decimal32(precision, scale) for precision in range(1, 10) for scale in range(precision + 1)]
    + [pa.decimal64(precision, scale) for precision in range(1, 19) for scale in range(precision + 1)]
    + [pa.decimal128(precision, scale) for precision in range(1, 39) for scale in range(precision + 1)]
    + [pa.decimal256(precision, scale) for precision in range(1, 77) for scale in range(precision + 1)]
)


def test_a_decimal_of_any_type_and_scale_becomes_the_double_that_python_reads_from_its_text() -> None:
    draw = random.Random(13)
    for kind in DECIMALS:
        mantissas = [draw.randrange(-(10**kind.precision) + 1, 10**kind.precision) for _ in range(5)]
        texts = [f"{mantissa}e-{kind.scale}" for mantissa in (*mantissas, 0, 3, 35 % 10**kind.precision)]
        array = pa.array([*map(Decimal, texts), None], kind)
        expected = [*map(float, texts), None]
        zeros = {name: pa.concat_arrays([values] * len(array)) for name, values in one_trip().items()}
        assert canonical(zeros | {"total_amount": array}).column("total_amount").to_pylist() == expected, kind


MISFITS = {
    "NaN among the money": ("total_amount", pa.array([1.0, float("nan")]), "nan"),
    "infinity among the money": ("total_amount", pa.array([1.0, float("-inf")]), "-inf"),
    "infinity in single precision": ("total_amount", pa.array([1.0, float("inf")], pa.float32()), "inf"),
    "NaN written as text": ("fare_amount", pa.array(["1", "nan"]), "'nan'"),
    "NaN among the miles": ("trip_distance", pa.array([None, float("nan")]), "nan"),
    "a fraction in a count": ("passenger_count", pa.array([1.0, 1.5]), "1.5"),
    "not a number": ("passenger_count", pa.array([1.0, float("nan")]), "nan"),
    "too large for its type": ("VendorID", pa.array([1, 70_000]), "70000"),
    "text for a number": ("RatecodeID", pa.array(["1", "one"]), "'one'"),
    "a time before all calendars": ("tpep_pickup_datetime", pa.array([0, -(2**62)], pa.timestamp("us")), str(-(2**62))),
    "a time after all calendars": ("tpep_dropoff_datetime", pa.array([0, 2**62], pa.timestamp("s")), str(2**62)),
    "text for a time": ("tpep_pickup_datetime", pa.array(["2023-01-01 00:00:00", "noon"]), "'noon'"),
}


@pytest.mark.parametrize(("column", "values", "shown"), MISFITS.values(), ids=MISFITS)
def test_a_value_that_does_not_fit_is_an_error_with_its_column_row_and_value(
    column: str, values: pa.Array, shown: str
) -> None:
    two = pa.table({name: pa.concat_arrays([array, array]) for name, array in one_trip().items()}).to_pydict()
    batch = pa.RecordBatch.from_pydict(two | {column: values})
    with pytest.raises(TripFileError) as refused:
        to_canonical(batch, map_columns("file", batch.schema.names), rows_before=16_384)
    assert str(refused.value).startswith(f"file: column {column} (")
    assert f", row 16,386: the value {shown}" in str(refused.value)


@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("tpep_pickup_datetime", pa.array([NOON], pa.timestamp("us", tz="UTC"))),
        ("tpep_pickup_datetime", pa.array([1_672_531_200])),
        ("total_amount", pa.array([[1.0]])),
        ("passenger_count", pa.array([True])),
    ],
)
def test_a_column_of_another_kind_is_an_error_that_names_its_type(column: str, array: pa.Array) -> None:
    with pytest.raises(TripFileError, match=f"^file: column {column} .* is of type ") as refused:
        canonical(one_trip(**{column: array}))
    assert str(array.type) in str(refused.value)


@pytest.mark.parametrize(
    ("pickup", "inside"),
    [
        (datetime(2023, 1, 1), True),
        (datetime(2023, 1, 31, 23, 59, 59, 999_999), True),
        (datetime(2023, 2, 1), False),
        (datetime(2022, 12, 31, 23, 59, 59, 999_999), False),
        (None, False),
    ],
)
def test_a_trip_is_a_stray_unless_its_pickup_lies_in_the_month(pickup: datetime | None, inside: bool) -> None:
    batch = canonical(one_trip(tpep_pickup_datetime=pa.array([pickup], pa.timestamp("us"))))
    trips, strays = split_strays(batch, datetime(2023, 1, 1), datetime(2023, 2, 1))
    assert (trips.num_rows, strays.num_rows) == ((1, 0) if inside else (0, 1))
