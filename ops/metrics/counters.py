"""What happened since this process started, counted from the event log: runs, materializations, loads and dbt's models.

Each evaluation reads the events that are new, by an index, so it costs the same however long the history is. Where it
stopped is kept in the store: a restart counts nothing twice, and what happened meanwhile too. The counters themselves
begin at 0, as Prometheus expects of a process.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import psycopg2
from prometheus_client import CollectorRegistry, Counter, Histogram, Summary

from ops.alerts.inside import connect
from ops.alerts.store import Store
from ops.alerts.watch import OVERLAP
from ops.command import OpsError, first_line
from ops.metrics.gauges import label
from ops.status.facts import Facts, Workspace, known

# What one evaluation reads at most; the rest is read by the next one. Of longer events only the number is counted.
MOST, LONGEST = 1_000, 65_536
RESULTS = {"PIPELINE_SUCCESS": "success", "PIPELINE_FAILURE": "failure", "PIPELINE_CANCELED": "canceled"}
# The phases of a load (docs/performance.md).
PHASES = ("download", "copy", "index", "swap", "commit")
# A location may report any number, and a counter that was infinite once stays so.
_LARGEST = 1e15
# Of runs, in seconds.
_BUCKETS = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200)

# The end of a run may be stored twice. The run's row may not have it yet.
RUNS = """
select e.id, walls.location_of(runs.run_body), e.dagster_event_type,
  runs.start_time - extract(epoch from runs.create_timestamp)::float,
  extract(epoch from e.timestamp)::float - runs.start_time
from event_logs as e join runs using (run_id)
where e.dagster_event_type in ('PIPELINE_SUCCESS', 'PIPELINE_FAILURE', 'PIPELINE_CANCELED')
  and e.id > %s and e.id <> all(%s) and not exists (
    select from event_logs as earlier
    where earlier.run_id = e.run_id and earlier.dagster_event_type = e.dagster_event_type and earlier.id < e.id)
order by e.id limit %s
"""
BUILT = f"""
select e.id, walls.location_of(runs.run_body), e.asset_key,
  case when octet_length(e.event) <= {LONGEST} then e.event end
from event_logs as e left join runs using (run_id)
where e.dagster_event_type = 'ASSET_MATERIALIZATION' and e.id > %s and e.id <> all(%s)
order by e.id limit %s
"""


class Counters:
    def __init__(self, registry: CollectorRegistry) -> None:
        of_asset = ["location", "asset"]
        self.runs = Counter("dagster_runs", "Runs that ended.", ["location", "result"], registry=registry)
        self.durations = Histogram(
            *("dagster_run_duration_seconds", "From a run's start to its end.", ["location"]),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.queued = Histogram(
            *("dagster_run_queue_seconds", "From a run's creation to its start.", ["location"]),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.built = Counter("dagster_asset_materializations", "Materializations.", of_asset, registry=registry)
        self.models = Summary("taxi_dbt_model_seconds", "How long dbt took for a model.", of_asset, registry=registry)
        self.rows = Counter("taxi_load_rows", "Rows of the files that were loaded.", registry=registry)
        self.bytes = Counter("taxi_load_bytes", "Bytes of these files.", registry=registry)
        self.seconds = Counter("taxi_load_seconds", "How long the loads took.", ["phase"], registry=registry)
        self.deploys = Counter(
            "taxi_deploys", "Times that a location got another image.", ["location"], registry=registry
        )
        for phase in PHASES:
            self.seconds.labels(phase)

    def count(self, store: Store, facts: Facts) -> None:
        """Counts what is new since the last call; raises OpsError if Postgres does not answer."""
        self._start_at_zero(facts)
        self._count_deploys(store, facts)
        try:
            with connect() as connection, connection.cursor() as cursor:
                cursor.execute("select coalesce(max(id), 0) from event_logs")
                ((newest,),) = cursor.fetchall()
                ended = _new(store, "counted_runs", cursor, RUNS, newest)
                built = _new(store, "counted_built", cursor, BUILT, newest)
        except psycopg2.Error as error:
            raise OpsError(f"Postgres does not answer: {first_line(str(error))}") from None
        for location, kind, queued, seconds in ended:
            self.runs.labels(label(location or ""), RESULTS[kind]).inc()
            for histogram, value in ((self.queued, queued), (self.durations, seconds)):
                if value is not None:
                    histogram.labels(label(location or "")).observe(max(value, 0))
        for location, asset, event in built:
            of_asset = label(location or ""), label("/".join(json.loads(asset)))
            self.built.labels(*of_asset).inc()
            self._count_metadata(of_asset, metadata(event))

    def _start_at_zero(self, facts: Facts) -> None:
        """A counter that is missing until it is 1 has no increase from 0 to 1."""
        for location in known(facts.workspace, Workspace()).locations:
            for result in RESULTS.values():
                self.runs.labels(label(location.name), result)
            for each in (self.durations, self.queued, self.deploys):
                each.labels(label(location.name))
        for asset in known(facts.assets, ()):
            if asset.materializable:
                self.built.labels(label(asset.location), label(asset.key))

    def _count_deploys(self, store: Store, facts: Facts) -> None:
        before: dict[str, str] = store.get("images", {})
        locations = {one.name for one in known(facts.workspace, Workspace()).locations}
        images = {one.name: one.image for one in known(facts.services, ()) if one.name in locations and one.image}
        for name, image in images.items():
            if before.get(name, image) != image:
                self.deploys.labels(label(name)).inc()
        store.put("images", before | images)

    def _count_metadata(self, of_asset: tuple[str, str], found: Mapping[str, Any]) -> None:
        """The locations choose what they report, so each number is checked."""
        if (seconds := number(found.get("Execution Duration"))) is not None:
            self.models.labels(*of_asset).observe(seconds)
        phases = found.get("seconds")
        if isinstance(phases, dict):
            self.rows.inc(number(found.get("rows")) or 0)
            self.bytes.inc(number(found.get("bytes")) or 0)
            for phase in PHASES:
                self.seconds.labels(phase).inc(number(phases.get(phase)) or 0)


def _new(store: Store, name: str, cursor: Any, query: str, newest: int) -> list[tuple[Any, ...]]:
    """The rows of events that were not read before, without their ids. The first call leaves the past alone.

    Events of concurrent transactions become visible out of order, so the last OVERLAP ids are read again.
    """
    mark: dict[str, Any] = store.get(name, {"after": newest + 1})
    if mark["after"] > newest:  # the first call, or the instance is another one, as after a restore
        mark, rows = {"after": newest, "seen": []}, []
    else:
        cursor.execute(query, [mark["after"], mark["seen"], MOST])
        rows = cursor.fetchall()
    after = max([mark["after"], *(id - OVERLAP for id, *_ in rows)])
    store.put(name, {"after": after, "seen": [id for id in [*mark["seen"], *(row[0] for row in rows)] if id > after]})
    return [row[1:] for row in rows]


def metadata(event: str | None) -> dict[str, Any]:
    """The metadata of a materialization that are numbers or JSON, from its event; none if it cannot be read."""
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        read = json.loads(event or "")
        entries = read["dagster_event"]["event_specific_data"]["materialization"]["metadata_entries"]
        data = {entry["label"]: entry["entry_data"] for entry in entries}
        return {name: one["value"] if "value" in one else one.get("data") for name, one in data.items()}
    return {}


def number(value: Any) -> float | None:
    """A number that a counter takes: one that is not negative, and after which it still counts ones."""
    if isinstance(value, int | float) and 0 <= value <= _LARGEST:
        return float(value)
    return None
