"""A healthy stack and what may go wrong in it, as facts; and the stacks that docs/status.md shows."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ops.lineage import Asset, Key, Materialization
from ops.status.facts import (
    Alerts,
    Backups,
    Check,
    Daemon,
    Events,
    Facts,
    Instigator,
    Location,
    Repository,
    Role,
    Run,
    Runs,
    Service,
    Storage,
    Unknown,
    Workspace,
)

NOW = 1_700_000_000.0
HOUR = 3600.0
MONTHS = ("2023-01-01", "2023-02-01")
DAYS = ("2023-01-30", "2023-01-31", "2023-02-01", "2023-02-02")

_UP = ("backups", "daemon", "dbt_location", "ingestion_location", "postgres", "webserver")
SERVICES = (
    *(Service(name, "running", "healthy", f"{name}:1", NOW - HOUR) for name in _UP),
    Service("migrate", "exited", None, "platform:1", NOW - HOUR, one_shot=True),
)
TRIPS = Asset(
    "taxi_trips",
    "ingestion_location",
    kind="TIME_WINDOW",
    cadence="monthly",
    fmt="%Y-%m-%d",
    keys=MONTHS,
    materialized=frozenset(MONTHS),
)
DAILY = Asset(
    "daily_metrics",
    "dbt_location",
    parents=("taxi_trips",),
    kind="TIME_WINDOW",
    cadence="daily",
    fmt="%Y-%m-%d",
    keys=DAYS,
    materialized=frozenset(DAYS),
)
REPORT = replace(TRIPS, key="monthly_report", location="dbt_location", parents=("daily_metrics",))
ZONES = Asset("taxi_zones", "ingestion_location")


def newest(**changed: Sequence[tuple[Key, int]]) -> dict[tuple[str, Key], Materialization]:
    """Newest materializations: the months as events 1 and 2, the days 11 to 14, the reports 21 and 22, the zones 5.

    The keywords replace those of an asset by pairs of partition and event id. An event's time is two hours ago plus its
    id in seconds.
    """
    events: dict[str, Sequence[tuple[Key, int]]] = {
        "taxi_trips": [(key, 1 + place) for place, key in enumerate(MONTHS)],
        "daily_metrics": [(key, 11 + place) for place, key in enumerate(DAYS)],
        "monthly_report": [(key, 21 + place) for place, key in enumerate(MONTHS)],
        "taxi_zones": [(None, 5)],
        **changed,
    }
    return {
        (asset, key): Materialization(id, NOW - 2 * HOUR + id)
        for asset, members in events.items()
        for key, id in members
    }


def failed_run(asset: str = "taxi_trips", first: Key = "2023-02-01", **changed: Any) -> Run:
    """A run that failed half an hour ago."""
    run = Run(
        id="0a1b",
        status="FAILURE",
        location="ingestion_location",
        job="__ASSET_JOB",
        assets=(asset,),
        created=NOW - HOUR / 2 - 60,
        first=first,
        last=first,
        started=NOW - HOUR / 2 - 50,
        ended=NOW - HOUR / 2,
    )
    return replace(run, **changed)


HEALTHY = Facts(
    time=NOW,
    project="taxi",
    url="http://127.0.0.1:3000",
    services=SERVICES,
    workspace=Workspace(
        locations=(Location("dbt_location", None, NOW - HOUR), Location("ingestion_location", None, NOW - HOUR)),
        instigators=(
            Instigator("automatic_builds", "dbt_location", "sensor", True, True, True, NOW - 10, "SKIPPED"),
            Instigator("new_trip_files", "ingestion_location", "sensor", True, True, False, NOW - 10, "SKIPPED"),
        ),
        last_runs={},
    ),
    daemons=(Daemon("SENSOR", NOW - 20), Daemon("QUEUED_RUN_COORDINATOR", NOW - 20)),
    assets=(TRIPS, DAILY, REPORT, ZONES),
    checks=(),
    runs=Runs((), (), ()),
    events=Events(newest(), {}),
    storage=Storage(
        40, 60, {"dagster": 1, "warehouse": 2}, 10, 100, (Role("dagster", 5, 20), Role("postgres", 1, None))
    ),
    policies={"dbt_location": "", "ingestion_location": ""},
    backups=Backups((Repository(1, 3, NOW - HOUR, 1000, True),), elsewhere=True, archived=NOW - 20),
    alerts=Alerts(NOW - 20),
    certificate=None,
)


# --- the examples of docs/status.md ---------------------------------------------------------------------------------

_AT = datetime(2026, 11, 25, 9, 30, tzinfo=UTC).timestamp()
_LOADED = ("2023-01-01", "2023-02-01")
_FAILED = "2023-03-01"
_FIRST = date(2023, 1, 1)
_DAYS = tuple(str(_FIRST + timedelta(days=day)) for day in range(90))
_BUILT_DAYS = _DAYS[:59]
_UP_SINCE = _AT - 16 * 60


def _service(name: str, image: str = "", **changed: Any) -> Service:
    return replace(
        Service(name, "running", "healthy", image if ":" in image else f"{image or name}:local", _UP_SINCE), **changed
    )


_SERVICES = (
    _service("alerts"),
    _service("alerts-proxy", "proxies"),
    _service("backups", "database"),
    _service("daemon", "platform"),
    _service("dbt_location"),
    _service("dbt_location_gateway", "proxies"),
    _service("docker-proxy", "proxies"),
    _service("door", "door"),
    _service("ingestion_location"),
    _service("ingestion_location_gateway", "proxies"),
    _service("platform_location"),
    _service("platform_location_gateway", "proxies"),
    _service("postgres", "database"),
    _service("reports"),
    _service("volume_backups", "database"),
    _service("webserver", "platform"),
    _service("dbt_location_policy", "migrate", state="exited", health=None, one_shot=True, since=_UP_SINCE - 38),
    _service("ingestion_location_policy", "migrate", state="exited", health=None, one_shot=True, since=_UP_SINCE - 38),
    _service("migrate", state="exited", health=None, one_shot=True, since=_UP_SINCE - 40),
    _service("platform_location_policy", "migrate", state="exited", health=None, one_shot=True, since=_UP_SINCE - 38),
    _service("workspace", "migrate", state="exited", health=None, one_shot=True, since=_UP_SINCE - 10),
)
_LOCATIONS = ("dbt_location", "ingestion_location", "platform_location")
_DAEMONS = (
    "ASSET",
    "BACKFILL",
    "EVENT_LOG_CONSUMER",
    "FRESHNESS",
    "MONITORING",
    "QUEUED_RUN_COORDINATOR",
    "SCHEDULER",
    "SENSOR",
)


def _sensor(name: str, location: str, status: str | None = "SKIPPED", kind: str = "sensor") -> Instigator:
    return Instigator(name, location, kind, True, True, name == "automatic_builds", _AT - 9 if status else None, status)


def _monthly(key: str, location: str, *parents: str) -> Asset:
    keys = (*_LOADED, _FAILED)
    return replace(
        TRIPS,
        key=key,
        location=location,
        parents=parents,
        keys=keys,
        materialized=frozenset(_LOADED),
        failed=frozenset(),
    )


def _daily(key: str, *parents: str) -> Asset:
    return replace(DAILY, key=key, parents=parents, keys=_DAYS, materialized=frozenset(_BUILT_DAYS))


# Parents come before their children: the place of an asset is the order in which it was built.
_ASSETS = (
    replace(_monthly("taxi_trips", "ingestion_location"), failed=frozenset({_FAILED})),
    ZONES,
    Asset("stg_zones", "dbt_location", parents=("taxi_zones",)),
    _daily("stg_trips", "taxi_trips"),
    _daily("daily_metrics", "stg_trips"),
    _daily("location_metrics", "stg_trips", "stg_zones"),
    _daily("manhattan_stats", "location_metrics"),
    _monthly("zone_pickups", "dbt_location", "location_metrics", "stg_zones"),
    _monthly("borough_flows", "dbt_location", "location_metrics"),
    _monthly("monthly_totals", "dbt_location", "location_metrics"),
    _monthly("zone_map", "dbt_location", "zone_pickups", "stg_zones"),
    _monthly("borough_flows_chart", "dbt_location", "borough_flows"),
    _monthly(
        "monthly_report",
        "dbt_location",
        *("monthly_totals", "zone_pickups", "borough_flows", "location_metrics", "stg_zones"),
    ),
)
_NEWEST = {
    (asset.key, key): Materialization(id=place, time=_AT - 900 + place)
    for place, asset in enumerate(_ASSETS)
    for key in (asset.materialized if asset.kind else [None])
}
_RUN_ID = "5d0e1f0c-6c0f-4b8e-9b42-6a3f6c9f1f27"
_SOURCE = "https://d37ci6vzurychx.cloudfront.net/trip-data/yellow_tripdata_2023-03.parquet"

EXAMPLE_FAILED_MONTH = Facts(
    time=_AT,
    project="dagster-taxi",
    url="http://127.0.0.1:3000",
    services=_SERVICES,
    workspace=Workspace(
        locations=tuple(Location(name, None, _UP_SINCE) for name in _LOCATIONS),
        instigators=(
            _sensor("automatic_builds", "dbt_location"),
            _sensor("new_trip_files", "ingestion_location"),
            _sensor("new_zone_files", "ingestion_location"),
            _sensor("reaper", "platform_location"),
            _sensor("nightly_pruning", "platform_location", None, "schedule"),
        ),
    ),
    daemons=tuple(Daemon(name, _AT - 24) for name in _DAEMONS),
    assets=_ASSETS,
    checks=tuple(Check("daily_metrics", f"check_{n}", "SUCCEEDED", None, "1", "") for n in range(25)),
    runs=Runs(failed=(failed_run(id=_RUN_ID, first=_FAILED, last=_FAILED, created=_AT - 400, ended=_AT - 300),)),
    events=Events(
        _NEWEST,
        {
            _RUN_ID: f"{_SOURCE}: the source does not have this file (HTTP 404). The TLC publishes a month about two "
            "months late: choose a published month, or check TLC_BASE_URL and TLC_TAXI_TYPE."
        },
    ),
    storage=Storage(
        disk_used=51_000_000_000,
        disk_free=58_000_000_000,
        databases={"dagster": 27_000_000, "postgres": 7_800_000, "warehouse": 35_000_000},
        connections=7,
        max_connections=103,
        roles=(
            Role("alerts", 1, 3),
            Role("dagster", 5, 40),
            Role("dbt_location", 0, 10),
            Role("ingestion_location", 0, 10),
            Role("platform_location", 0, 10),
            Role("postgres", 1, None),
        ),
    ),
    policies=dict.fromkeys(_LOCATIONS, ""),
    backups=Backups((Repository(1, 3, _AT - 7 * HOUR, 41_000_000, False),), elsewhere=False, archived=_AT - 14),
    alerts=Alerts(_AT - 12, ("receiver 1 (E-Mail, analytics)", "receiver 2 (Slack, default)")),
    certificate=None,
)
_NO_WEBSERVER = Unknown("webserver is exited")
EXAMPLE_STOPPED_WEBSERVER = replace(
    EXAMPLE_FAILED_MONTH,
    url=None,
    services=tuple(
        replace(one, state="exited", health=None, exit_code=143, since=_AT - 15) if one.name == "webserver" else one
        for one in _SERVICES
    ),
    workspace=_NO_WEBSERVER,
    daemons=_NO_WEBSERVER,
    assets=_NO_WEBSERVER,
    checks=_NO_WEBSERVER,
    runs=_NO_WEBSERVER,
)
EXAMPLE_NOT_UP = Facts(
    _AT,
    "dagster-taxi",
    None,
    tuple(replace(one, state="absent", health=None, since=None) for one in _SERVICES),
)
EXAMPLE_NO_ENGINE = Facts(
    _AT,
    "dagster-taxi",
    None,
    Unknown("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"),
)
