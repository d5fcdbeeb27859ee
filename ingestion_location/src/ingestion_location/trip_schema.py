"""The one canonical schema of a trip, and how the columns of a TLC file become it.

The TLC's files change names, letter case and types from month to month. Here every column of every era has one
name and one type; nothing else in this location knows how a file spells it.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc


class TripFileError(ValueError):
    """A trip file that cannot be loaded; the message names the file, the column and the next step."""


@dataclass(frozen=True)
class Column:
    """One canonical column.

    Attributes:
        name: column name in the warehouse.
        arrow: type that a batch is cast to before it is encoded; it must match ``postgres`` exactly.
        postgres: type in the warehouse.
        source_names: names in TLC files of any era, in lower case.
        description: meaning and unit, after the TLC's data dictionary.
        mandatory: whether a file without it is refused.
    """

    name: str
    arrow: pa.DataType
    postgres: str
    source_names: tuple[str, ...]
    description: str
    mandatory: bool = False


_TIME = (pa.timestamp("us"), "timestamp")
_CODE = (pa.int16(), "smallint")
_REAL = (pa.float64(), "double precision")
_TEXT = (pa.string(), "text")

COLUMNS: tuple[Column, ...] = (
    Column("vendor_id", *_CODE, ("vendorid",), "Provider of the record."),
    Column(
        "pickup_datetime",
        *_TIME,
        ("tpep_pickup_datetime", "lpep_pickup_datetime"),
        "When the meter was engaged, New York wall-clock time.",
        mandatory=True,
    ),
    Column(
        "dropoff_datetime",
        *_TIME,
        ("tpep_dropoff_datetime", "lpep_dropoff_datetime"),
        "When the meter was disengaged, New York wall-clock time.",
        mandatory=True,
    ),
    Column("passenger_count", *_CODE, ("passenger_count",), "Passengers, entered by the driver."),
    Column("trip_distance", *_REAL, ("trip_distance",), "Distance by the taximeter, miles."),
    Column("rate_code_id", *_CODE, ("ratecodeid",), "Rate code at the end of the trip; 99 is unknown."),
    Column("store_and_fwd_flag", *_TEXT, ("store_and_fwd_flag",), "Y if the record was held in the vehicle."),
    Column("pickup_zone_id", *_CODE, ("pulocationid",), "TLC zone of the pickup.", mandatory=True),
    Column("dropoff_zone_id", *_CODE, ("dolocationid",), "TLC zone of the dropoff.", mandatory=True),
    Column("payment_type", *_CODE, ("payment_type",), "How the passenger paid."),
    Column("fare_amount", *_REAL, ("fare_amount",), "Time-and-distance fare, US dollars."),
    Column("extra", *_REAL, ("extra",), "Extras and surcharges, US dollars."),
    Column("mta_tax", *_REAL, ("mta_tax",), "MTA tax, US dollars."),
    Column("tip_amount", *_REAL, ("tip_amount",), "Card tips, US dollars."),
    Column("tolls_amount", *_REAL, ("tolls_amount",), "Tolls, US dollars."),
    Column("improvement_surcharge", *_REAL, ("improvement_surcharge",), "Improvement surcharge, US dollars."),
    Column("total_amount", *_REAL, ("total_amount",), "Total charged, US dollars; negative in a reversal.", True),
    Column("congestion_surcharge", *_REAL, ("congestion_surcharge",), "State congestion surcharge, US dollars."),
    Column("airport_fee", *_REAL, ("airport_fee",), "Airport pickup fee, US dollars; yellow only."),
    Column("cbd_congestion_fee", *_REAL, ("cbd_congestion_fee",), "MTA congestion zone charge, US dollars; from 2025."),
    Column("ehail_fee", *_REAL, ("ehail_fee",), "E-hail fee, US dollars; green only."),
    Column("trip_type", *_CODE, ("trip_type",), "Street-hail (1) or dispatch (2); green only."),
)

ARROW_SCHEMA = pa.schema([pa.field(column.name, column.arrow) for column in COLUMNS])


@dataclass(frozen=True)
class FileMapping:
    """Which of a file's columns becomes which canonical one.

    Attributes:
        file: what error messages call the file.
        source_by_name: canonical name to the file's name; canonical columns that the file lacks are absent.
        unknown: the file's columns that no canonical column wants.
    """

    file: str
    source_by_name: dict[str, str]
    unknown: tuple[str, ...]


def map_columns(file: str, names: list[str]) -> FileMapping:
    """Finds the canonical columns among a file's column names, whatever their case and era.

    Raises:
        TripFileError: a mandatory column is missing.
    """
    by_lower_case = {name.lower(): name for name in names}
    source_by_name = {}
    for column in COLUMNS:
        found = [by_lower_case[name] for name in column.source_names if name in by_lower_case]
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


def to_canonical(batch: pa.RecordBatch, mapping: FileMapping) -> pa.RecordBatch:
    """Returns the batch with exactly the canonical columns; those that the file lacks are null.

    Raises:
        TripFileError: a value does not fit the canonical type, or a column is not of a kind that can be cast.
    """
    arrays: list[pa.Array] = []
    for column in COLUMNS:
        source = mapping.source_by_name.get(column.name)
        if source is None:
            arrays.append(pa.nulls(batch.num_rows, column.arrow))
            continue
        try:
            # A safe cast: a fraction in a count or a number that is too large is an error, never rounded away.
            arrays.append(pc.cast(batch.column(source), column.arrow, safe=True))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TripFileError(
                f"{mapping.file}: column {source} ({column.name}, {column.postgres}) holds a value that does not fit: "
                f"{error}. Nothing was loaded; compare the file with the TLC's and load the month again."
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=ARROW_SCHEMA)
