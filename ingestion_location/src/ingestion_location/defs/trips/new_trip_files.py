"""The sensor ``new_trip_files``: loads the months whose file is new at the source."""

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg

from ingestion_location.defs.trips.trip_ledger import TRIP_FILES
from ingestion_location.partitions import monthly_partition
from ingestion_location.source import TlcSource
from ingestion_location.source_errors import SourceError
from ingestion_location.source_sensor import OPTIONS, Loads, SensorState, read_ledger
from ingestion_location.warehouse import Warehouse

# Runs requested per tick: a first start on ten years fills the queue gradually, not with 120 runs at once.
MOST_REQUESTS = 12
# Months checked per tick, of those that are not loaded and of the loaded ones; a longer list is checked in turn. Months
# that are not loaded come first: they are the next two or three that the TLC publishes, or those of a first start.
MOST_LOOKS = {"waiting": 16, "loaded": 8}
# Dagster's timeout of a tick is 60 s, and the last request to the source may take a few seconds after this.
MOST_SECONDS = 30.0


def look_for_months(
    context: dg.SensorEvaluationContext, tlc: TlcSource, warehouse: Warehouse, now: datetime
) -> dg.SensorResult:
    """One tick: requests the months to load, oldest first, and describes what was found."""
    state = SensorState.from_cursor(context.cursor, tlc.name)
    if state.is_waiting(now):
        return state.result()
    loads = Loads(context, "taxi_trips")
    files = {file.month: file for file in read_ledger(warehouse, TRIP_FILES)}
    months = [date.fromisoformat(key) for key in monthly_partition.get_partition_keys(current_time=now)]
    # Loaded is what both know: either may have been wiped, or restored from an older backup.
    loaded = [month for month in months if month in files and loads.is_recorded(f"{month}")]
    lists = {"waiting": [month for month in months if month not in loaded], "loaded": loaded}
    after = dict(state.after)
    requests: list[dg.RunRequest] = []
    found: dict[str, list[str]] = defaultdict(list)
    refusal: SourceError | None = None
    stop_at = time.monotonic() + MOST_SECONDS
    turns = [(kind, month) for kind in lists for month in in_turn(lists[kind], after.get(kind), MOST_LOOKS[kind])]
    with tlc.looking() as look:
        for kind, month in turns:
            if len(requests) == MOST_REQUESTS or time.monotonic() > stop_at:
                break
            # Set even if the request fails: a file that always fails must not stop the sensor from checking the others.
            after[kind] = f"{month}"
            try:
                published = look(tlc.trips_url(month))
            except SourceError as error:
                refusal = error
                break
            name = f"{month:%Y-%m}"
            if published is None:
                if kind == "waiting":
                    found["not published yet"].append(name)
                continue
            in_ledger = month in files and published.is_version(files[month])
            if kind == "loaded" and in_ledger:
                continue
            # What the ledger has is only recorded again, which an earlier refusal of the file does not prevent.
            loaded_by = files[month].run_id if month in files else None
            version = f"{published.version} of run {loaded_by}" if in_ledger else published.version
            if loads.is_loading(f"{month}"):
                found["being loaded"].append(name)
            elif (earlier := loads.earlier_request(version)) and not earlier.is_due(now, kind == "waiting", loaded_by):
                found[str(earlier)].append(name)
            else:
                found["published and requested" if kind == "waiting" else "changed and requested"].append(name)
                config = {"skip_unchanged": True} if in_ledger else None
                requests.append(loads.request(version, earlier, f"{month}", config))
    sentence = ", ".join(
        [f"{len(lists['loaded'])} of {len(months)} months loaded"]
        + [f"{len(names)} {what} ({_listed(sorted(names))})" for what, names in found.items()]
    )
    state = state.after_error(refusal, sentence, after, now) if refusal else SensorState(found=sentence, after=after)
    return state.result(sorted(requests, key=lambda request: str(request.partition_key)))


def _listed(names: Sequence[str]) -> str:
    """Names for a sentence: 2023-01, 2023-02, 2023-03 and 9 more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def in_turn(months: Sequence[date], after: str | None, most: int) -> list[date]:
    """The next months of a list: those after the last checked one, then from the start of the list."""
    later = [month for month in months if after is None or f"{month}" > after]
    return [*later, *months[: len(months) - len(later)]][:most]


@dg.sensor(
    target=dg.AssetSelection.assets("taxi_trips"),
    **OPTIONS,
    description="Loads the months that the source has and the warehouse lacks, or has from another file.",
)
def new_trip_files(context: dg.SensorEvaluationContext, tlc: TlcSource, warehouse: Warehouse) -> dg.SensorResult:
    return look_for_months(context, tlc, warehouse, datetime.now(UTC))
