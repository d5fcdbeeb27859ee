"""The results of an evaluation, as gauges. Labels are locations, assets, roles and the like, never runs or partitions.

What is not known has no samples.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from ops.status.facts import Backups, Events, Facts, Runs, Storage, Unknown, Workspace, known
from ops.status.judge import Judgement, service_problem
from ops.status.overdue import Overdue
from ops.status.partitions import STATES, AssetStatus


def label(value: str) -> str:
    """A label's value that can be written as UTF-8: code of a location chooses the names of its assets and sensors."""
    return value.encode(errors="replace").decode()


def gauges(facts: Facts, judgement: Judgement, seconds: float) -> Iterator[GaugeMetricFamily]:
    """Every gauge with its samples; ``seconds`` is how long the evaluation took."""
    yield from _evaluation(facts, judgement, seconds)
    yield from _services(facts)
    yield from _workspace(facts)
    yield from _assets(facts, judgement)
    yield from _runs(facts)
    yield from _storage(facts)
    yield from _backups(facts)


def _gauge(name: str, help: str, labels: tuple[str, ...], samples: Mapping[Any, float | None]) -> GaugeMetricFamily:
    """A gauge with a sample per tuple of labels; None where there is none."""
    family = GaugeMetricFamily(name, help, labels=labels)
    for values, value in {tuple(map(label, values)): value for values, value in samples.items()}.items():
        if value is not None:
            family.add_metric(values, value)
    return family


def _evaluation(facts: Facts, judgement: Judgement, seconds: float) -> Iterator[GaugeMetricFamily]:
    yield _gauge("taxi_evaluation_timestamp_seconds", "When these figures were gathered.", (), {(): facts.time})
    yield _gauge("taxi_evaluation_duration_seconds", "How long that took.", (), {(): seconds})
    parts = [field.name for field in fields(facts) if field.name not in ("time", "project", "url")]
    is_known = {(name,): not isinstance(getattr(facts, name), Unknown) for name in parts}
    yield _gauge("taxi_part_known", "1 if this part of the stack's state could be found out.", ("part",), is_known)
    problems = Counter((one.kind, one.location) for one in judgement.problems)
    yield _gauge("taxi_problems", "What needs a person, as in make status.", ("kind", "location"), problems)
    waiting = None if isinstance(facts.alerts, Unknown) else facts.alerts.waiting
    yield _gauge("taxi_alerts_waiting", "Lines that some receiver of alerts has not taken.", (), {(): waiting})


def _services(facts: Facts) -> Iterator[GaugeMetricFamily]:
    services = known(facts.services, ())
    up = {(one.name,): service_problem(one, facts.time) is None for one in services}
    yield _gauge("taxi_service_up", "1 if nothing is wrong with the service.", ("service",), up)
    started = {(one.name,): one.since for one in services if one.state == "running"}
    yield _gauge("taxi_service_start_time_seconds", "When the service's container started.", ("service",), started)


def _workspace(facts: Facts) -> Iterator[GaugeMetricFamily]:
    workspace = known(facts.workspace, Workspace())
    loaded = {(one.name,): one.error is None and not one.loading for one in workspace.locations}
    yield _gauge("dagster_location_loaded", "1 if the webserver has loaded the code location.", ("location",), loaded)
    labels = ("location", "type", "name")
    instigators = {(one.location, one.kind, one.name): one for one in workspace.instigators}
    running = {key: one.running for key, one in instigators.items()}
    yield _gauge("dagster_instigator_running", "1 if the sensor or schedule is switched on.", labels, running)
    ticks = {key: one.last_tick for key, one in instigators.items()}
    yield _gauge("dagster_tick_timestamp_seconds", "When the last completed tick began.", labels, ticks)
    failed = {key: one.last_status == "FAILURE" for key, one in instigators.items() if one.last_status}
    yield _gauge("dagster_tick_failed", "1 if the last completed tick failed.", labels, failed)
    beats = {(one.name,): one.beat for one in known(facts.daemons, ())}
    yield _gauge("dagster_daemon_heartbeat_timestamp_seconds", "The thread's last heartbeat.", ("daemon",), beats)


def _assets(facts: Facts, judgement: Judgement) -> Iterator[GaugeMetricFamily]:
    assets = {(one.asset.location, one.asset.key): one for one in judgement.statuses}
    labels = ("location", "asset")
    states = {(*key, state): one.count(state) for key, one in assets.items() for state in STATES}
    what = "Partitions by their state in make status; an asset without partitions counts as one."
    yield _gauge("dagster_asset_partitions", what, (*labels, "state"), states)
    late = {} if judgement.late is None else {key: _late(one, judgement.late) for key, one in assets.items()}
    what = "Partitions that could have been built, and that nothing builds."
    yield _gauge("dagster_asset_partitions_late", what, labels, late)
    built: dict[str, float] = {}
    for (asset, _), newest in known(facts.events, Events({}, {})).newest.items():
        built[asset] = max(newest.time, built.get(asset, 0.0))
    times = {key: built.get(one.asset.key) for key, one in assets.items()}
    yield _gauge("dagster_asset_materialization_timestamp_seconds", "The newest materialization.", labels, times)


def _late(status: AssetStatus, late: tuple[Overdue, ...]) -> int:
    of_asset = [one for one in late if status.asset.key in one.assets]
    if status.asset.kind is None:
        return len(of_asset)
    place = {key: number for number, key in enumerate(status.asset.keys)}
    return sum(place[last] - place[first] + 1 for one in of_asset for first, last in one.ranges)


def _runs(facts: Facts) -> Iterator[GaugeMetricFamily]:
    runs = known(facts.runs, Runs())
    unfinished = Counter((one.location, one.status.lower()) for one in runs.unfinished)
    yield _gauge("dagster_runs_unfinished", "Runs queued or in progress.", ("location", "status"), unfinished)
    backfills = Counter((one.status.lower(),) for one in runs.backfills)
    yield _gauge("dagster_backfills", "The newest 20 backfills, by status.", ("status",), backfills)


def _storage(facts: Facts) -> Iterator[GaugeMetricFamily]:
    found = None if isinstance(facts.storage, Unknown) else facts.storage
    storage = found or Storage(0, 0, {}, 0, 0, ())
    sizes = {(name,): size for name, size in storage.databases.items()}
    yield _gauge("taxi_database_size_bytes", "The size of the database.", ("database",), sizes)
    disk = {("used",): storage.disk_used, ("free",): storage.disk_free} if found else {}
    yield _gauge("taxi_disk_bytes", "The disk with Postgres's volume.", ("state",), disk)
    used = {(one.name,): one.used for one in storage.roles}
    yield _gauge("taxi_connections", "Connections to Postgres.", ("role",), used)
    limits = {(one.name,): one.limit for one in storage.roles}
    yield _gauge("taxi_connections_limit", "The role's limit; none for a superuser.", ("role",), limits)
    yield _gauge(
        "taxi_connections_max", "Postgres's max_connections.", (), {(): found.max_connections if found else None}
    )


def _backups(facts: Facts) -> Iterator[GaugeMetricFamily]:
    found = None if isinstance(facts.backups, Unknown) else facts.backups
    backups = found or Backups((), elsewhere=False)
    repositories = {(str(one.key),): one for one in backups.repositories}
    labels = ("repository",)
    newest = {key: one.newest for key, one in repositories.items()}
    yield _gauge("taxi_backup_timestamp_seconds", "When the newest backup ended.", labels, newest)
    counts = {key: one.backups for key, one in repositories.items()}
    yield _gauge("taxi_backups", "Backups in the repository.", labels, counts)
    sizes = {key: one.size for key, one in repositories.items()}
    yield _gauge("taxi_backups_size_bytes", "The size of all backups in the repository.", labels, sizes)
    archived, waiting = {(): backups.archived}, {(): found.waiting if found else None}
    yield _gauge("taxi_wal_archived_timestamp_seconds", "When Postgres's log was archived last.", (), archived)
    yield _gauge("taxi_wal_waiting_segments", "Segments of the log that are not archived yet.", (), waiting)
    rehearsal = backups.rehearsal or {}
    ended, errors = {(): rehearsal.get("ended")}, {(): len(rehearsal["found"]) if rehearsal else None}
    yield _gauge("taxi_restore_rehearsal_timestamp_seconds", "When a restore was rehearsed last.", (), ended)
    yield _gauge("taxi_restore_rehearsal_errors", "What that rehearsal found to be wrong.", (), errors)
