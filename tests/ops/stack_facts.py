"""A stack in which all is well, and what goes wrong in it, as facts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ops.status.facts import (
    Asset,
    Daemon,
    Events,
    Facts,
    Instigator,
    Key,
    Location,
    Materialization,
    Role,
    Run,
    Runs,
    Service,
    Storage,
    Workspace,
)

NOW = 1_700_000_000.0
HOUR = 3600.0
MONTHS = ("2023-01-01", "2023-02-01")
DAYS = ("2023-01-30", "2023-01-31", "2023-02-01", "2023-02-02")

_UP = ("daemon", "dbt_location", "ingestion_location", "postgres", "webserver")
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

    The keywords give others, by asset: pairs of partition and event. An event's time is two hours ago and its number.
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
)
