"""Files with any content, made from a seed, and a process that loads them as runs do."""

import io
import multiprocessing
import random
import re
import resource
import traceback
import zipfile
from collections.abc import Callable
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from helpers.eras import ERAS, table_of
from helpers.zone_files import HEADER, TIMES_SQUARE, archive, square
from ingestion_location.defs.trips.month_load import load_month
from ingestion_location.defs.zones.taxi_zones import fetch_zones, replace_ledger, replace_zones
from ingestion_location.load_errors import LoadError
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse

JANUARY = (datetime(2023, 1, 1), datetime(2023, 2, 1))
TRIPS, LOOKUP, SHAPES = "trip-data/yellow_tripdata_2023-01.parquet", "misc/taxi_zone_lookup.csv", "misc/taxi_zones.zip"
GOOD_TRIPS = table_of(ERAS["yellow", "2023-02"]).take([0] * 60)
GOOD_LOOKUP = (HEADER + '1,"EWR","Newark Airport","EWR"\n265,"N/A","Outside of NYC","N/A"\n').encode()
GOOD_SHAPES = archive((1, square(TIMES_SQUARE)), (2, square((990_000, 215_000)))).getvalue()
# A process that needs more fails to allocate it; without the limit it would take the machine's memory.
MEMORY_BYTES = 6 << 30
NEXT_STEP = re.compile(r"Check |Compare |compare |launch the run again|must publish|add the new name")
TABLES = """
select (select count(*) from raw_taxis.trips), (select count(*) from raw_taxis.stray_trips),
    (select string_agg(run_id, ' ') from raw_taxis.trip_files), (select sum(zone_id) from raw_taxis.zones),
    (select string_agg(distinct run_id, ' ') from raw_taxis.zone_files)
"""

_EXTREMES = [0, 1, -1, 127, 128, 255, 32_767, 32_768, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 1_672_531_200_000_000]
_TEXTS = ["", "1", "2023-01-05 10:00:00", "1.5", "nan", "-0", "1e400", "\0", "ü\u202e", "0x1", " 1", "x" * 2_000]
_UNITS = ("s", "ms", "us", "ns")
_TYPES = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.null(), pa.date32(), pa.date64()),
    *(pa.decimal32(9, 2), pa.decimal64(18, 2), pa.decimal128(38, 2), pa.decimal256(76, 2), pa.decimal128(38, 38)),
    *(pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"), *map(pa.duration, _UNITS)),
    *(pa.timestamp(unit, zone) for unit in _UNITS for zone in (None, "UTC", "America/New_York")),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3)),
    *(pa.list_(pa.float64()), pa.large_list(pa.int64()), pa.list_(pa.int16(), 2), pa.map_(pa.string(), pa.int64())),
    *(pa.struct([("a", pa.int64())]), pa.uuid(), pa.json_(), pa.bool8()),
]


def _value(choose: random.Random, kind: pa.DataType) -> Any:
    """Something that may or may not become a value of the type."""
    if choose.random() < 0.2:
        return None
    if pa.types.is_nested(kind):
        return choose.choice([[], [1, 2], {"a": 1}, [("k", 1)]])
    if any(of(kind) for of in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return choose.choice(_TEXTS)
    if "binary" in str(kind) or isinstance(kind, pa.BaseExtensionType):
        return choose.choice([b"", b"abc", b"\xff\xfe\xfd", choose.randbytes(16), "{}", True])
    if pa.types.is_floating(kind):
        return choose.choice([0.0, 1.5, -1.0, 40.0, float("nan"), float("inf"), -1e38, 1e308, 5e-324])
    if pa.types.is_decimal(kind):
        return choose.choice([0, 1, -1, 10 ** (kind.precision - kind.scale) - 1])
    return choose.choice([*_EXTREMES, choose.getrandbits(63)])


def _column(choose: random.Random, rows: int) -> pa.Array:
    """A column of any type: usable values, extremes, nulls only, or codes of a dictionary."""
    kind = choose.choice(_TYPES)
    values = []
    for _ in range(3):
        value = _value(choose, kind)
        try:
            pa.scalar(value, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
            # As many bits, without what Python can represent.
            try:
                value = pa.scalar(value, pa.int64()).cast(kind).as_py()
            except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
                value = None
        values.append(value)
    array = pa.array([choose.choice(values) for _ in range(rows)], kind)
    if choose.random() < 0.2:
        array = array.dictionary_encode()
    elif (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and choose.random() < 0.3:
        wide = pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()
        array = pa.array([choose.choice([b"Y", b"\xff", b"a\0"]) for _ in range(rows)], wide).view(kind)
    elif choose.random() < 0.5 and kind.__class__.__name__ in ("TimestampType", "DurationType"):
        array = pa.array([choose.choice(_EXTREMES) for _ in range(rows)], pa.int64()).view(kind)
    return array


def any_trips(choose: random.Random) -> bytes:
    """A parquet file whose columns have any types and names, or whose bytes were changed."""
    table = GOOD_TRIPS
    if choose.random() < 0.6:
        rows = choose.choice([0, 1, 60, 60, 60])
        table = table.slice(0, rows)
        for _ in range(choose.choice([1, 1, 2, 5])):
            place = choose.randrange(table.num_columns)
            others = ["", "extra", "EXTRA", "ÿ\u202e\x1b[31m", "a.b", "x" * 5_000]
            name = choose.choice([*[table.column_names[place]] * 8, *others])
            if choose.random() < 0.8:
                table = table.set_column(place, name, _column(choose, rows))
            else:
                table = table.append_column(name, _column(choose, rows))
    file = io.BytesIO()
    pq.write_table(
        table,
        file,
        compression=choose.choice(["none", "snappy", "gzip", "zstd", "brotli", "lz4"]),
        use_dictionary=choose.random() < 0.5,
        row_group_size=choose.choice([7, 30, 1_000]),
        version=choose.choice(["1.0", "2.4", "2.6"]),
        data_page_version=choose.choice(["1.0", "2.0"]),
        data_page_size=choose.choice([64, None]),
        store_schema=choose.random() < 0.7,
        write_page_checksum=choose.random() < 0.2,
    )
    content = file.getvalue()
    if table is GOOD_TRIPS or choose.random() < 0.1:
        metadata = int.from_bytes(content[-8:-4], "little")
        content = _changed(choose, content, choose.choice([4, len(content) - 8 - metadata]))
    return content


def _changed(choose: random.Random, content: bytes, start: int = 0) -> bytes:
    """The content with some bytes changed, removed or added behind a start."""
    changed = bytearray(content)
    for _ in range(choose.choice([1, 1, 1, 2, 5, 20])):
        place = choose.randrange(start, max(len(changed), start + 1))
        length = choose.choice([1, 1, 1, 2, 4, 8])
        new = choose.choice([choose.randbytes(length), b"\0" * length, b"\xff" * length, b"", choose.randbytes(40)])
        changed[place : place + (len(new) if len(new) < 40 else 0)] = new
        if not new and choose.random() < 0.5:
            del changed[place : place + length]
    return bytes(changed[: choose.randrange(len(changed))] if choose.random() < 0.05 else changed)


def any_lookup(choose: random.Random) -> bytes:
    return _changed(choose, GOOD_LOOKUP, choose.choice([0, len(HEADER)]))


def any_shapes(choose: random.Random) -> bytes:
    """An archive whose bytes were changed, or those of a part that it has."""
    if choose.random() < 0.3:
        return _changed(choose, GOOD_SHAPES)
    changed = choose.choice([".shp", ".shp", ".shx", ".dbf", ".dbf", ".prj"])
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD_SHAPES)) as good, zipfile.ZipFile(file, "w") as new:
        for name in good.namelist():
            content = good.read(name)
            new.writestr(name, _changed(choose, content) if name.endswith(changed) else content)
    return file.getvalue()


ANY: list[tuple[str, Callable[[random.Random], bytes]]] = [
    *[(TRIPS, any_trips)] * 4,
    (LOOKUP, any_lookup),
    *[(SHAPES, any_shapes)] * 2,
]


def write_good(site: Path) -> None:
    trips = io.BytesIO()
    pq.write_table(GOOD_TRIPS, trips)
    for name, content in ((TRIPS, trips.getvalue()), (LOOKUP, GOOD_LOOKUP), (SHAPES, GOOD_SHAPES)):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)


def write_case(site: Path, seed: str, case: int) -> str:
    """Writes the files of a case, one of them with any content, and returns the path of that one."""
    choose = random.Random(f"{seed} {case}")
    path, make = choose.choice(ANY)
    write_good(site)
    while True:
        try:
            (site / path).write_bytes(make(choose))
            return path
        except (pa.ArrowException, OSError, TypeError, ValueError, OverflowError):
            continue  # Arrow does not write such a file.


def load(path: str, source: TlcSource, warehouse: Warehouse, run_id: str) -> None:
    if path == TRIPS:
        load_month(source, warehouse, *JANUARY, run_id, lambda line: None)
        return
    zones, shapes, files = fetch_zones(source, lambda line: None)
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        replace_zones(connection, zones, shapes or {})
        replace_ledger(cursor, files, run_id)


def outcome(site: Path, warehouse: Warehouse, seed: str, case: int) -> str:
    """Loads the files of a case; returns what is wrong, or `loaded` or `refused`."""

    def tables() -> Any:
        with warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(TABLES)
            return cursor.fetchall()

    source = TlcSource(base_url=site.as_uri(), taxi_type="yellow")
    path = write_case(site, seed, case)
    before = tables()
    try:
        load(path, source, warehouse, f"case {case}")
    except LoadError as error:
        message = str(error)
        if not (message.startswith(f"{site.as_uri()}/{path}") and NEXT_STEP.search(message)):
            return f"the message lacks the file or the next step: {message}"
        return "refused" if tables() == before else f"refused, and the tables changed: {before} {tables()}"
    except Exception:
        return traceback.format_exc()
    return "loaded"


def work(site: str, warehouse: dict[str, Any], seed: str, first: int, pipe: Connection) -> None:
    """Sends the number of each case and its outcome, for ever."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    write_good(Path(site))
    for path in (TRIPS, LOOKUP):
        load(path, TlcSource(base_url=Path(site).as_uri(), taxi_type="yellow"), Warehouse(**warehouse), "good files")
    case = first
    while True:
        pipe.send(case)
        pipe.send(outcome(Path(site), Warehouse(**warehouse), seed, case))
        case += 1


def start(site: Path, warehouse: Warehouse, seed: str, first: int) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(str(site), warehouse.model_dump(), seed, first, sender), daemon=True)
    process.start()
    sender.close()
    return process, receiver
