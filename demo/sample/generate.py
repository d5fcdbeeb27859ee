"""Writes made-up sample files with the paths and the form of the TLC's, the same in every run.

They have what matters to a loader: the types of the columns change in February 2023, some trips lie outside their
file's month, nulls come in blocks, reversals cancel trips, a dropoff may precede its pickup, some zones have no shape
and one has several.

usage: generate.py FOLDER yellow|green 2023-01-01 2023-04-01
"""

import csv
import io
import os
import random
import sys
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import shapefile

LABEL = "SAMPLE DATA, made up. Not trips of the NYC Taxi & Limousine Commission."
TRIPS_PER_DAY = 1_000
STRAYS = 7
# The date of all files, in seconds since 1970: 1 July 2023.
PUBLISHED = 1_688_169_600

# South-west corners in feet of the State Plane. The zones of a borough are squares in a block, an airport is a square.
BLOCKS = {
    "Manhattan": (975_000, 200_000),
    "Queens": (1_015_000, 190_000),
    "Brooklyn": (985_000, 160_000),
    "Bronx": (1_000_000, 240_000),
    "Staten Island": (930_000, 140_000),
}
BOROUGHS = tuple(BLOCKS)
AIRPORTS = {
    1: ("EWR", "Newark Airport", (925_000, 190_000)),
    132: ("Queens", "JFK Airport", (1_045_000, 170_000)),
    138: ("Queens", "LaGuardia Airport", (1_018_000, 218_000)),
}
SIDE, BLOCK_COLUMNS = 3_000, 8
# As in the TLC's shapefile, the squares of these zones have another zone's number.
MISNUMBERED = {57: 56, 104: 103, 105: 103}
# The TLC's: State Plane, New York Long Island, US survey feet.
PROJECTION = (
    'PROJCS["NAD_1983_StatePlane_New_York_Long_Island_FIPS_3104_Feet",GEOGCS["GCS_North_American_1983",'
    'DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],'
    'UNIT["Degree",0.0174532925199433]],PROJECTION["Lambert_Conformal_Conic"],PARAMETER["False_Easting",984250.0],'
    'PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",-74.0],PARAMETER["Standard_Parallel_1",'
    '41.0333333333333],PARAMETER["Standard_Parallel_2",40.6666666666667],PARAMETER["Latitude_Of_Origin",'
    '40.1666666666667],UNIT["US survey foot",0.304800609601219]]'
)

IDENTIFIERS = ("VendorID", "PULocationID", "DOLocationID")
CODES = ("RatecodeID", "passenger_count", "payment_type", "trip_type")
# Types of the columns up to 2023-01 and from 2023-02, as they changed in the real files. The others are 64-bit floats.
FIRST = {**dict.fromkeys(IDENTIFIERS, pa.int64()), "store_and_fwd_flag": pa.string(), "ehail_fee": pa.null()}
LATER = {
    **dict.fromkeys(IDENTIFIERS, pa.int32()),
    **dict.fromkeys(CODES, pa.int64()),
    "store_and_fwd_flag": pa.large_string(),
}


def zones() -> Iterator[tuple[int, str, str, str]]:
    """Yields 265 zones: number, borough, name, service zone; the last two zones are special cases of the TLC's."""
    for number in range(1, 264):
        if number in AIRPORTS:
            borough, name, _ = AIRPORTS[number]
            yield number, borough, name, "EWR" if borough == "EWR" else "Airports"
        else:
            borough = BOROUGHS[number % len(BOROUGHS)]
            service = "Yellow Zone" if borough == "Manhattan" else "Boro Zone"
            yield number, borough, f"{borough} {number} (sample)", service
    yield 264, "Unknown", "N/A", "N/A"
    yield 265, "N/A", "Outside of NYC", "N/A"


def corner(number: int, borough: str) -> tuple[int, int]:
    """South-west corner of a zone's square."""
    if number in AIRPORTS:
        return AIRPORTS[number][2]
    x, y = BLOCKS[borough]
    row, column = divmod(number // len(BOROUGHS), BLOCK_COLUMNS)
    return x + SIDE * column, y + SIDE * row


def write_shapes(path: Path) -> None:
    """Writes the zipped shapefile of the zones; the last two have no shape."""
    parts = {suffix: io.BytesIO() for suffix in ("shp", "shx", "dbf")}
    with shapefile.Writer(**parts, shapeType=shapefile.POLYGON) as writer:
        writer.field("zone", "C", 60)
        writer.field("LocationID", "N", 9)
        writer.field("borough", "C", 60)
        for number, borough, name, _ in list(zones())[:263]:
            x, y = corner(number, borough)
            writer.poly([[(x, y), (x, y + SIDE), (x + SIDE, y + SIDE), (x + SIDE, y), (x, y)]])
            writer.record(name, MISNUMBERED.get(number, number), borough)
    contents = {suffix: part.getvalue() for suffix, part in parts.items()}
    # The table's header has the date of its creation, which would differ from run to run.
    contents["dbf"] = contents["dbf"][:1] + bytes((123, 1, 1)) + contents["dbf"][4:]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix, content in {**contents, "prj": PROJECTION.encode()}.items():
            archive.writestr(zipfile.ZipInfo(f"taxi_zones/taxi_zones.{suffix}"), content)


def trips(month: date, next_month: date, draw: random.Random) -> Iterator[dict[str, object]]:
    """Yields the trips of a month's file, by the lower-case names of its columns without tpep_ or lpep_."""
    start = datetime(month.year, month.month, 1)
    for day in range((next_month - month).days):
        date_of_business = start + timedelta(days=day)
        busy = 0.8 if date_of_business.weekday() >= 5 else 1.0
        for _ in range(int(TRIPS_PER_DAY * (busy + 0.2 * draw.random()))):
            yield from trip(date_of_business + timedelta(seconds=int(86_400 * draw.random())), draw)
    for stray in range(STRAYS):
        yield from trip(start - timedelta(days=1 + stray * 100), draw)


def trip(pickup: datetime, draw: random.Random) -> Iterator[dict[str, object]]:
    """Yields one trip, and after one in a hundred its reversal."""
    minutes = 4 + 40 * draw.random() ** 3
    seconds = -90 if draw.random() < 0.0005 else int(60 * minutes)
    fare = round(3 + 0.7 * minutes + 2 * draw.random(), 2)
    tip = round(fare * 0.2 * draw.random(), 2)
    incomplete = draw.random() < 0.05
    record = {
        "vendorid": 1 + int(draw.random() < 0.7),
        "pickup_datetime": pickup,
        "dropoff_datetime": pickup + timedelta(seconds=seconds),
        "store_and_fwd_flag": None if incomplete else "N",
        "ratecodeid": None if incomplete else (99 if draw.random() < 0.01 else 1),
        "pulocationid": 1 + int(265 * draw.random()),
        "dolocationid": 1 + int(265 * draw.random()),
        "passenger_count": None if incomplete else 1 + int(4 * draw.random()),
        "trip_distance": round(minutes * 0.25 * (0.5 + draw.random()), 2),
        "fare_amount": fare,
        "extra": 0.5,
        "mta_tax": 0.5,
        "tip_amount": tip,
        "tolls_amount": 0.0,
        "improvement_surcharge": 1.0,
        "total_amount": round(fare + tip + 2.0, 2),
        "payment_type": None if incomplete else 1 + int(2 * draw.random()),
        "congestion_surcharge": None if incomplete else 0.0,
        "airport_fee": None if incomplete else 0.0,
        "ehail_fee": None,
        "trip_type": None if incomplete else 1,
    }
    yield record
    if draw.random() < 0.01:
        money = ("fare_amount", "extra", "mta_tax", "tip_amount", "improvement_surcharge", "total_amount")
        yield record | {name: -float(str(record[name])) for name in money}


def schema(taxi_type: str, types: dict[str, pa.DataType]) -> pa.Schema:
    """The columns of a file, in the TLC's order and spelling."""
    times = [f"{'tpep' if taxi_type == 'yellow' else 'lpep'}_{end}_datetime" for end in ("pickup", "dropoff")]
    names = [
        *("VendorID", *times, "store_and_fwd_flag", "RatecodeID", "PULocationID", "DOLocationID", "passenger_count"),
        *("trip_distance", "fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge"),
        *("total_amount", "payment_type", "congestion_surcharge"),
    ]
    if taxi_type == "yellow":
        names.append("airport_fee" if types is FIRST else "Airport_fee")
    else:
        names += ["ehail_fee", "trip_type"]
    types = types | dict.fromkeys(times, pa.timestamp("us"))
    return pa.schema([(name, types.get(name, pa.float64())) for name in names], metadata={"label": LABEL})


def write_month(path: Path, taxi_type: str, month: date, next_month: date) -> None:
    columns = schema(taxi_type, FIRST if month < date(2023, 2, 1) else LATER)
    # One seed per file, so that a file does not depend on the other ones that are made.
    draw = random.Random(f"{taxi_type} {month}")
    rows = list(trips(month, next_month, draw))
    names = [name.lower().removeprefix("tpep_").removeprefix("lpep_") for name in columns.names]
    arrays = [pa.array([row[name] for row in rows], kind) for name, kind in zip(names, columns.types, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=columns), path)


def generate(folder: Path, taxi_type: str, start: date, end: date) -> None:
    """Writes the zone lookup, the zones' shapes and the trip files of all months from ``start`` to before ``end``."""
    (folder / "trip-data").mkdir(parents=True, exist_ok=True)
    (folder / "misc").mkdir(exist_ok=True)
    (folder / "SAMPLE.txt").write_text(LABEL + "\n")
    with (folder / "misc/taxi_zone_lookup.csv").open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(("LocationID", "Borough", "Zone", "service_zone"))
        writer.writerows(zones())
    write_shapes(folder / "misc/taxi_zones.zip")
    month = start
    while month < end:
        next_month = date(month.year + month.month // 12, month.month % 12 + 1, 1)
        write_month(folder / f"trip-data/{taxi_type}_tripdata_{month:%Y-%m}.parquet", taxi_type, month, next_month)
        month = next_month
    # As at the TLC's site, a file's date tells its version: the same file that is made again, for example in a new
    # container, is no news.
    for path in folder.rglob("*.*"):
        os.utime(path, (PUBLISHED, PUBLISHED))


if __name__ == "__main__":
    generate(Path(sys.argv[1]), sys.argv[2], date.fromisoformat(sys.argv[3]), date.fromisoformat(sys.argv[4]))
