"""Whatever a file of any era calls its columns and whatever types it gives them, the trips come out in one schema."""

from datetime import datetime

import pyarrow as pa
import pytest
from ingestion_location.trip_file import split_strays
from ingestion_location.trip_schema import ARROW_SCHEMA, TripFileError, map_columns, to_canonical

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


def test_a_canonical_column_that_the_file_lacks_is_null() -> None:
    assert canonical(one_trip()).column("cbd_congestion_fee").to_pylist() == [None]


@pytest.mark.parametrize("identifier", [pa.int32(), pa.int64(), pa.float64()])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_the_types_of_every_era_give_the_same_trip(identifier: pa.DataType, text: pa.DataType) -> None:
    batch = canonical(
        one_trip(
            PULocationID=pa.array([7], identifier),
            passenger_count=pa.array([2], identifier),
            store_and_fwd_flag=pa.array(["N"]).cast(text),
            ehail_fee=pa.nulls(1),
        )
    )
    assert batch.schema == ARROW_SCHEMA
    names = ("pickup_zone_id", "passenger_count", "store_and_fwd_flag", "ehail_fee")
    assert [batch.column(name).to_pylist() for name in names] == [[7], [2], ["N"], [None]]


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.null()])
def test_a_missing_value_stays_missing_whatever_its_type(kind: pa.DataType) -> None:
    assert canonical(one_trip(passenger_count=pa.array([None], kind))).column("passenger_count").to_pylist() == [None]


@pytest.mark.parametrize(
    ("column", "values"),
    [("passenger_count", pa.array([1.5])), ("VendorID", pa.array([70_000])), ("RatecodeID", pa.array(["one"]))],
)
def test_a_value_that_does_not_fit_is_an_error_that_names_its_column(column: str, values: pa.Array) -> None:
    with pytest.raises(TripFileError, match=f"^file: column {column} .* holds a value that does not fit"):
        canonical(one_trip(**{column: values}))


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
