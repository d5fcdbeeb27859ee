"""Trip files as the TLC wrote them in four eras: the same trip, with the names and types of each era."""

from datetime import datetime
from typing import Any

import pyarrow as pa

# One trip, in the canonical names. A file holds those of its columns that its era had.
TRIP: dict[str, Any] = {
    "vendor_id": 2,
    "pickup_datetime": datetime(2023, 1, 1, 0, 32, 10),
    "dropoff_datetime": datetime(2023, 1, 1, 0, 40, 36),
    "passenger_count": 1,
    "trip_distance": 0.97,
    "rate_code_id": 1,
    "store_and_fwd_flag": "N",
    "pickup_zone_id": 161,
    "dropoff_zone_id": 141,
    "payment_type": 2,
    "fare_amount": 9.3,
    "extra": 1.0,
    "mta_tax": 0.5,
    "tip_amount": 0.0,
    "tolls_amount": 0.0,
    "improvement_surcharge": 1.0,
    "total_amount": 14.3,
    "congestion_surcharge": 2.5,
    "airport_fee": 1.25,
    "cbd_congestion_fee": 0.75,
    "ehail_fee": None,
    "trip_type": 1,
}

_INT32, _INT64, _REAL, _TIME = pa.int32(), pa.int64(), pa.float64(), pa.timestamp("us")
_MONEY = ("fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge", "total_amount")

# Canonical name to the file's name and type, for the columns that the era has.
Era = dict[str, tuple[str, pa.DataType]]


def _era(prefix: str, identifier: pa.DataType, code: pa.DataType, text: pa.DataType, payment: pa.DataType) -> Era:
    return {
        "vendor_id": ("VendorID", identifier),
        "pickup_datetime": (f"{prefix}_pickup_datetime", _TIME),
        "dropoff_datetime": (f"{prefix}_dropoff_datetime", _TIME),
        "passenger_count": ("passenger_count", code),
        "trip_distance": ("trip_distance", _REAL),
        "rate_code_id": ("RatecodeID", code),
        "store_and_fwd_flag": ("store_and_fwd_flag", text),
        "pickup_zone_id": ("PULocationID", identifier),
        "dropoff_zone_id": ("DOLocationID", identifier),
        "payment_type": ("payment_type", payment),
        **{name: (name, _REAL) for name in _MONEY},
        "congestion_surcharge": ("congestion_surcharge", _REAL),
    }


_EARLY_YELLOW = _era("tpep", _INT64, _REAL, pa.string(), _INT64)
_LATE_YELLOW = _era("tpep", _INT32, _INT64, pa.large_string(), _INT64)
_EARLY_GREEN = _era("lpep", _INT64, _REAL, pa.string(), _REAL)
_LATE_GREEN = _era("lpep", _INT32, _INT64, pa.large_string(), _INT64)

ERAS: dict[tuple[str, str], Era] = {
    ("yellow", "2019-01"): {**_EARLY_YELLOW, "airport_fee": ("airport_fee", pa.null())},
    ("yellow", "2022-01"): {**_EARLY_YELLOW, "airport_fee": ("airport_fee", _REAL)},
    ("yellow", "2023-02"): {**_LATE_YELLOW, "airport_fee": ("Airport_fee", _REAL)},
    ("yellow", "2025-01"): {
        **_LATE_YELLOW,
        "airport_fee": ("Airport_fee", _REAL),
        "cbd_congestion_fee": ("cbd_congestion_fee", _REAL),
    },
    ("green", "2019-01"): {**_EARLY_GREEN, "ehail_fee": ("ehail_fee", pa.null()), "trip_type": ("trip_type", _REAL)},
    ("green", "2022-01"): {**_EARLY_GREEN, "ehail_fee": ("ehail_fee", pa.null()), "trip_type": ("trip_type", _REAL)},
    ("green", "2023-02"): {**_LATE_GREEN, "ehail_fee": ("ehail_fee", _REAL), "trip_type": ("trip_type", _INT64)},
    ("green", "2025-01"): {
        **_LATE_GREEN,
        "ehail_fee": ("ehail_fee", _REAL),
        "trip_type": ("trip_type", _INT64),
        "cbd_congestion_fee": ("cbd_congestion_fee", _REAL),
    },
}


def trip_of(era: Era) -> dict[str, Any]:
    """The canonical trip in a file of the era: null where the era has no such column, or only nulls."""
    return {name: value if name in era and not pa.types.is_null(era[name][1]) else None for name, value in TRIP.items()}


def table_of(era: Era) -> pa.Table:
    """The era's file with one trip."""
    expected = trip_of(era)
    return pa.table({spelled: pa.array([expected[name]], kind) for name, (spelled, kind) in era.items()})
