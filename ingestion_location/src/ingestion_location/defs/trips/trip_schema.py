"""The canonical schema of a trip, and the mapping from the columns of a TLC file to it.

Names, letter case and types of the TLC's columns change from month to month. Only this module knows them; everywhere
else a column has one name and one type.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_location.load_errors import LoadError


class TripFileError(LoadError):
    """A trip file that cannot be loaded; the message names the file, the column and the next step."""


@dataclass(frozen=True)
class Column:
    """One canonical column.

    Attributes:
        arrow: type that values are cast to; it must correspond to ``postgres``, whose binary format it is encoded in.
        bound: magnitude above which a number is absurd; None for a column without money or miles.
        description: meaning and unit, after the TLC's data dictionary.
        renamed_from: names in TLC files of any era, in lower case, where they are not ``name``.
        mandatory: whether a file without it is refused.
        since: first month whose file has it; None if every file since 2019 does.
    """

    name: str
    arrow: pa.DataType
    postgres: str
    bound: float | None
    description: str
    renamed_from: tuple[str, ...] = ()
    mandatory: bool = False
    taxi_types: tuple[str, ...] = ("yellow", "green")
    since: date | None = None

    @property
    def source_names(self) -> tuple[str, ...]:
        return self.renamed_from or (self.name,)

    def expected(self, taxi_type: str, month: date) -> bool:
        """Whether the TLC's file of this month has the column."""
        return taxi_type in self.taxi_types and (self.since is None or month >= self.since)


_TIME = (pa.timestamp("us"), "timestamp", None)
_CODE = (pa.int16(), "smallint", None)
_TEXT = (pa.string(), "text", None)
_REAL = (pa.float64(), "double precision")
# An absurd number is loaded, for the tables have what the file has, and the load warns. The bounds lie above what real
# files have again and again: a broken taximeter writes six digits of miles, the dearest green trip of seven months cost
# 1,424 dollars, and a surcharge is a few dollars.
_MILES = (*_REAL, 1_000_000.0)
_DOLLARS = (*_REAL, 10_000.0)
_SURCHARGE = (*_REAL, 100.0)

COLUMNS: tuple[Column, ...] = (
    Column("vendor_id", *_CODE, "Provider of the record.", ("vendorid",)),
    Column(
        "pickup_datetime",
        *_TIME,
        "When the meter was engaged, New York wall-clock time.",
        ("tpep_pickup_datetime", "lpep_pickup_datetime"),
        mandatory=True,
    ),
    Column(
        "dropoff_datetime",
        *_TIME,
        "When the meter was disengaged, New York wall-clock time.",
        ("tpep_dropoff_datetime", "lpep_dropoff_datetime"),
        mandatory=True,
    ),
    Column("passenger_count", *_CODE, "Passengers, entered by the driver."),
    Column("trip_distance", *_MILES, "Distance by the taximeter, miles."),
    Column("rate_code_id", *_CODE, "Rate code at the end of the trip; 99 is unknown.", ("ratecodeid",)),
    Column("store_and_fwd_flag", *_TEXT, "Y if the record was held in the vehicle."),
    Column("pickup_zone_id", *_CODE, "TLC zone of the pickup.", ("pulocationid",), mandatory=True),
    Column("dropoff_zone_id", *_CODE, "TLC zone of the dropoff.", ("dolocationid",), mandatory=True),
    Column("payment_type", *_CODE, "How the passenger paid."),
    Column("fare_amount", *_DOLLARS, "Time-and-distance fare, US dollars."),
    Column("extra", *_SURCHARGE, "Extras and surcharges, US dollars."),
    Column("mta_tax", *_SURCHARGE, "MTA tax, US dollars."),
    Column("tip_amount", *_DOLLARS, "Card tips, US dollars."),
    Column("tolls_amount", *_DOLLARS, "Tolls, US dollars."),
    Column("improvement_surcharge", *_SURCHARGE, "Improvement surcharge, US dollars."),
    Column("total_amount", *_DOLLARS, "Total charged, US dollars; negative in a reversal.", mandatory=True),
    Column("congestion_surcharge", *_SURCHARGE, "State congestion surcharge, US dollars."),
    Column("airport_fee", *_SURCHARGE, "Airport pickup fee, US dollars; yellow only.", taxi_types=("yellow",)),
    Column(
        "cbd_congestion_fee", *_SURCHARGE, "MTA congestion zone charge, US dollars; from 2025.", since=date(2025, 1, 1)
    ),
    Column("ehail_fee", *_SURCHARGE, "E-hail fee, US dollars; green only.", taxi_types=("green",)),
    Column("trip_type", *_CODE, "Street-hail (1) or dispatch (2); green only.", taxi_types=("green",)),
)


@dataclass(frozen=True)
class Absurd:
    """The absurd numbers of a column: how many trips have one, and the one of the largest magnitude."""

    trips: int
    largest: float


BOUNDS = {column.name: column.bound for column in COLUMNS if column.bound is not None}
ARROW_SCHEMA = pa.schema([pa.field(column.name, column.arrow) for column in COLUMNS])
# Postgres can store other times, but its clients cannot read them.
EARLIEST, LATEST = datetime.min, datetime.max


@dataclass(frozen=True)
class FileMapping:
    """The mapping from canonical columns to those of a file, which error messages call ``file``.

    Attributes:
        source_by_name: canonical name to the file's name, for the canonical columns that the file has.
        unknown: columns of the file that map to no canonical column.
        absurd: canonical columns with an absurd number in a converted batch.
    """

    file: str
    source_by_name: dict[str, str]
    unknown: tuple[str, ...]
    absurd: set[str] = field(default_factory=set)

    @property
    def schema(self) -> pa.Schema:
        """The canonical columns that the file has. The others are null in the warehouse, where they take no space."""
        return pa.schema([ARROW_SCHEMA.field(name) for name in self.source_by_name])

    def missing(self, taxi_type: str, month: date) -> tuple[str, ...]:
        """The canonical columns that a file of this month should have and this file lacks."""
        return tuple(
            column.name
            for column in COLUMNS
            if column.expected(taxi_type, month) and column.name not in self.source_by_name
        )


def map_columns(file: str, names: list[str]) -> FileMapping:
    """Maps a file's column names, of any case and era.

    Raises a TripFileError if a mandatory column is missing, or two columns map to the same canonical column.
    """
    source_by_name = {}
    for column in COLUMNS:
        found = [name for name in names if name.lower() in column.source_names]
        if len(found) > 1:
            raise TripFileError(
                f"{file}: the columns {' and '.join(found)} would both become {column.name}. Nothing was loaded; "
                "compare the file with the TLC's."
            )
        if found:
            source_by_name[column.name] = found[0]
        elif column.mandatory:
            raise TripFileError(
                f"{file}: the mandatory column {' or '.join(column.source_names)} ({column.name}) is missing; the file "
                f"has {', '.join(names)}. Check that TLC_BASE_URL and TLC_TAXI_TYPE point to a TLC trip file; if the "
                "TLC renamed the column, add the new name to trip_schema.py."
            )
    known = set(source_by_name.values())
    return FileMapping(file, source_by_name, tuple(name for name in names if name not in known))


def to_canonical(batch: pa.RecordBatch, mapping: FileMapping, rows_before: int = 0) -> pa.RecordBatch:
    """Converts a batch of the file, before which the file has ``rows_before`` rows, to the mapping's schema.

    Raises a TripFileError if a value does not fit the canonical type, or a column's type cannot be converted.
    """
    arrays: list[pa.Array] = []
    for column in COLUMNS:
        source = mapping.source_by_name.get(column.name)
        if source is None:
            continue
        array = batch.column(source)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if not _convertible(array.type, column.arrow):
            raise TripFileError(
                f"{mapping.file}: column {source} ({column.name}) is of type {array.type}, which does not become "
                f"{column.postgres}. Nothing was loaded; compare the file with the TLC's and load the month again."
            )
        try:
            cast = _cast(array, column.arrow)
            if column.bound is not None and not _largest(cast) <= column.bound:
                mapping.absurd.add(column.name)
                # One such number would make the sums of its day and month NaN or infinite.
                if (index := pc.index(pc.is_finite(cast), False).as_py()) >= 0:
                    raise _Misfit(index)
            arrays.append(cast)
        except _Misfit as misfit:
            row = rows_before + misfit.index + 1
            raise TripFileError(
                f"{mapping.file}: column {source} ({column.name}, {column.postgres}), row {row:,}: the value "
                f"{_text(array, misfit.index)} does not fit. Nothing was loaded; compare the file with the TLC's and "
                "load the month again."
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=mapping.schema)


@dataclass
class _Misfit(Exception):  # noqa: N818, it names a value
    """The first value of an array that does not fit."""

    index: int


def _convertible(source: pa.DataType, to: pa.DataType) -> bool:
    if pa.types.is_null(source) or pa.types.is_string(source) or pa.types.is_large_string(source):
        return True
    if pa.types.is_timestamp(to):
        # A time with a zone is an instant; the trips' times are wall-clock times.
        return bool(pa.types.is_timestamp(source) and source.tz is None)
    if pa.types.is_string(to):
        return bool(pa.types.is_string_view(source))
    return any(of(source) for of in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal))


def _cast(array: pa.Array, to: pa.DataType) -> pa.Array:
    """Casts without loss: a fraction in a count or a number that is too large is an error, it is never rounded."""
    if pa.types.is_decimal(array.type) and pa.types.is_floating(to):
        # Arrow's own cast is off by one unit in the last place for some. Text becomes the nearest double.
        array = pc.cast(array, pa.string())
    try:
        cast = pc.cast(array, to, safe=True)
    except pa.ArrowInvalid:
        raise _Misfit(_first_misfit(array, to)) from None
    if pa.types.is_timestamp(to) and len(cast) > cast.null_count:
        outside = pc.or_(pc.less(cast, pa.scalar(EARLIEST, to)), pc.greater(cast, pa.scalar(LATEST, to)))
        if pc.any(outside).as_py():
            raise _Misfit(pc.index(outside, True).as_py())
    return cast


def _largest(numbers: pa.Array) -> float:
    """The largest magnitude among doubles; NaN if there is one. NumPy takes a tenth of the time of Arrow's maximum."""
    filled = numbers.fill_null(0.0) if numbers.null_count else numbers
    return float(np.abs(filled.to_numpy()).max(initial=0.0))


def _first_misfit(array: pa.Array, to: pa.DataType) -> int:
    """Index of the first value that cannot be cast, by binary search."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pc.cast(array.slice(low, middle - low), to, safe=True)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _text(array: pa.Array, index: int) -> str:
    """The value as text; a time that Python cannot represent as its number."""
    value = array[index]
    try:
        return repr(value.as_py()) if pa.types.is_string(array.type) else str(value.as_py())
    except (ValueError, OverflowError):
        return f"{value.value} ({array.type})"
