"""The sensor ``new_trip_files``: a month whose file is new at the source gets loaded."""

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg

from ingestion_location import trip_files
from ingestion_location.download import SourceError
from ingestion_location.partitions import monthly_partition
from ingestion_location.source import TlcSource
from ingestion_location.source_watch import (
    DEFAULT_STATUS,
    INTERVAL_SECONDS,
    Runs,
    Watch,
    listed,
    read_ledger,
    request_load,
)
from ingestion_location.warehouse import Warehouse

# So many runs a tick: a first start on ten years is a queue that grows by the tick, not a hundred and twenty at once.
MOST_REQUESTS = 12
# So many looks a tick at months that are not loaded, and at loaded ones, in turn where there are more. Those that are
# not loaded come first: there are the two or three that the TLC will publish next, and the ones of a first start.
MOST_LOOKS = {"waiting": 16, "loaded": 8}
# Dagster gives a tick 60 s; the last look may take a few after this.
MOST_SECONDS = 30.0


def look_for_months(
    context: dg.SensorEvaluationContext, tlc: TlcSource, warehouse: Warehouse, now: datetime
) -> dg.SensorResult:
    """One tick: which months to load, oldest first, and what was found, in a sentence.

    Raises:
        RuntimeError: the warehouse does not say which months are loaded.
    """
    watch = Watch.from_cursor(context.cursor)
    if watch.waits(now):
        return watch.result()
    # Before the ledger: a load that ends in between is in the ledger then, and one that does not is still running.
    runs = Runs(context, "taxi_trips")
    ledger = read_ledger(warehouse, trip_files.read)
    months = [date.fromisoformat(key) for key in monthly_partition.get_partition_keys(current_time=now)]
    lists = {
        "waiting": [month for month in months if month not in ledger],
        "loaded": [month for month in months if month in ledger],
    }
    after = dict(watch.after)
    requests: list[dg.RunRequest] = []
    found: dict[str, list[str]] = defaultdict(list)
    refusal: SourceError | None = None
    stop_at = time.monotonic() + MOST_SECONDS
    turns = [(kind, month) for kind in lists for month in in_turn(lists[kind], after.get(kind), MOST_LOOKS[kind])]
    with tlc.looking() as look:
        for kind, month in turns:
            if len(requests) == MOST_REQUESTS or time.monotonic() > stop_at:
                break
            # Also where the look fails: one file that always does must not keep the sensor from the others.
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
            elif kind == "loaded" and published.is_content_of(ledger[month]):
                pass
            elif runs.is_loading(f"{month}"):
                found["being loaded"].append(name)
            elif (asked := runs.asked_before(published.version)) is not None and not asked.is_due(now):
                found[asked.said()].append(name)
            else:
                found["published and requested" if kind == "waiting" else "changed and requested"].append(name)
                # The version is the key: it is requested once, until there is another; again only where its load failed
                # in a way that passes, as a source that throttled.
                tries = asked.tries if asked else 0
                requests.append(request_load("taxi_trips", published.version, f"{month}", tries))
    sentence = ", ".join(
        [f"{len(lists['loaded'])} of {len(months)} months loaded"]
        + [f"{len(names)} {what} ({listed(sorted(names))})" for what, names in found.items()]
    )
    watch = watch.refused(refusal, sentence, after, now) if refusal else watch.answered(sentence, after)
    return watch.result(sorted(requests, key=lambda request: str(request.partition_key)))


def in_turn(months: Sequence[date], after: str | None, most: int) -> list[date]:
    """The next months of a list, beginning after the one that was the last and going round at its end."""
    later = [month for month in months if after is None or f"{month}" > after]
    return [*later, *months[: len(months) - len(later)]][:most]


@dg.sensor(
    target=dg.AssetSelection.assets("taxi_trips"),
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=DEFAULT_STATUS,
    description="Loads the months that the source has and the warehouse has not, or has from another file.",
)
def new_trip_files(context: dg.SensorEvaluationContext, tlc: TlcSource, warehouse: Warehouse) -> dg.SensorResult:
    """Looks for months to load."""
    return look_for_months(context, tlc, warehouse, datetime.now(UTC))
