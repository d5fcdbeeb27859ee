"""Counts over a month's trips, made while they are loaded."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ingestion_location.defs.trips.trip_schema import COLUMNS

_EPOCH = date(1970, 1, 1)
_DAY = timedelta(days=1) // timedelta(microseconds=1)


class TripStats:
    """Counts over the trips of a month; ``nulls`` is the number of nulls per nullable column."""

    def __init__(self) -> None:
        self.rows = 0
        self.nulls = {column.name: 0 for column in COLUMNS if column.name != "pickup_datetime"}
        self.first_pickup: datetime | None = None
        self.last_pickup: datetime | None = None
        self._by_day: Counter[int] = Counter()

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields the batches unchanged and counts their trips, which all have a pickup time."""
        for batch in batches:
            if batch.num_rows:
                self._add(batch)
            yield batch

    def _add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        present = set(batch.schema.names)
        for name in self.nulls:
            self.nulls[name] += batch.column(name).null_count if name in present else batch.num_rows
        pickup = batch.column("pickup_datetime")
        ends = pc.min_max(pickup)
        first, last = ends["min"].as_py(), ends["max"].as_py()
        self.first_pickup = first if self.first_pickup is None else min(self.first_pickup, first)
        self.last_pickup = last if self.last_pickup is None else max(self.last_pickup, last)
        # Months before 1970 would need a division that rounds down.
        for count in pc.value_counts(pc.divide(pickup.cast(pa.int64()), _DAY)):
            self._by_day[count["values"].as_py()] += count["counts"].as_py()

    def by_day(self, start: date, end: date) -> dict[date, int]:
        """Trips per day of ``[start, end)``, zero for a day without trips."""
        days = ((start - _EPOCH).days, (end - _EPOCH).days)
        return {_EPOCH + timedelta(days=day): self._by_day[day] for day in range(*days)}
