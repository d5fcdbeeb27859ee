"""Made-up trip files in the form and size of a real yellow month."""

from calendar import monthrange
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 1 << 20


def write_month(path: Path, month: date, rows: int) -> None:
    """Writes a month's file with every column that yellow files of 2023 have, in the order of the pickups.

    Distributions are those of real files where they cost something: money in cents, nulls in a fortieth of the rows,
    pickups out of order by some minutes.
    """
    draw = np.random.default_rng(rows)
    start = np.datetime64(month, "us")
    seconds = monthrange(month.year, month.month)[1] * 86_400
    writer = None
    for first in range(0, rows, ROW_GROUP):
        order = np.arange(first, min(first + ROW_GROUP, rows)) / rows
        table = _trips(draw, start, seconds, order)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=ROW_GROUP)
    if writer is not None:
        writer.close()


def _trips(draw: np.random.Generator, start: np.datetime64, seconds: int, order: np.ndarray) -> pa.Table:
    count = len(order)
    second = (order * seconds + draw.normal(0, 600, count)).clip(0, seconds - 1).astype("int64")
    pickup = start + second.astype("timedelta64[s]")
    dropoff = pickup + draw.integers(60, 3_600, count).astype("timedelta64[s]")
    unknown = draw.random(count) < 0.025
    distance = np.round(draw.gamma(1.2, 2.5, count), 2)
    fare = np.round(3 + 2.8 * distance, 1)
    tip = np.round(0.3 * fare * draw.random(count), 2)

    def with_nulls(values: np.ndarray) -> pa.Array:
        return pa.array(values, mask=unknown)

    return pa.table(
        {
            "VendorID": draw.integers(1, 3, count),
            "tpep_pickup_datetime": pickup,
            "tpep_dropoff_datetime": dropoff,
            "passenger_count": with_nulls(draw.integers(0, 7, count).astype(float)),
            "trip_distance": distance,
            "RatecodeID": with_nulls(draw.choice([1.0, 2.0, 5.0, 99.0], count, p=[0.95, 0.03, 0.01, 0.01])),
            "store_and_fwd_flag": with_nulls(np.where(draw.random(count) < 0.01, "Y", "N")),
            "PULocationID": draw.integers(1, 266, count),
            "DOLocationID": draw.integers(1, 266, count),
            "payment_type": draw.integers(1, 5, count),
            "fare_amount": fare,
            "extra": draw.choice([0.0, 0.5, 1.0, 2.5], count),
            "mta_tax": np.full(count, 0.5),
            "tip_amount": tip,
            "tolls_amount": np.where(draw.random(count) < 0.07, 6.55, 0.0),
            "improvement_surcharge": np.full(count, 1.0),
            "total_amount": np.round(fare + tip + 4.5, 2),
            "congestion_surcharge": with_nulls(np.full(count, 2.5)),
            "airport_fee": with_nulls(np.where(draw.random(count) < 0.08, 1.25, 0.0)),
        }
    )
