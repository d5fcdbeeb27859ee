"""What `make rebuild` launches."""

from dataclasses import replace

from ops.lineage import Asset, Lineage, Newest
from ops.rebuild import Plan, nothing_to_launch, plan
from ops.status.facts import Backfill, Instigator, Runs, Workspace
from ops.status.partitions import AssetStatus, asset_statuses
from tests.ops.stack_facts import DAILY, DAYS, MONTHS, NOW, REPORT, TRIPS, failed_run, newest

ZONES_MODEL = Asset("stg_zones", "dbt_location")
BY_ZONE = replace(DAILY, parents=("taxi_trips", "stg_zones"))
STATS = replace(DAILY, key="stats", parents=("daily_metrics",))
MAP = replace(REPORT, parents=("stats", "stg_zones"))
EVENTS = {"stats": [(key, 15 + place) for place, key in enumerate(DAYS)]}
NEW_ZONES = newest(**EVENTS, stg_zones=[(None, 50)])
OFF = Workspace()
ON = Workspace(instigators=(Instigator("automatic_builds", "dbt_location", "sensor", True, True, True),))
NO_RUNS = Runs()


def statuses(built: Newest, runs: Runs = NO_RUNS, **changed: Asset) -> list[AssetStatus]:
    assets = [changed.get(asset.key, asset) for asset in (TRIPS, BY_ZONE, STATS, MAP, ZONES_MODEL)]
    return asset_statuses(assets, runs.unfinished, (), built)


def planned(built: Newest = NEW_ZONES, runs: Runs = NO_RUNS, workspace: Workspace = ON, **changed: Asset) -> Plan:
    """The plan for days made from the zones, what is made from those days, and a map of each month."""
    found = statuses(built, runs, **changed)
    return plan(found, Lineage([status.asset for status in found], built), runs, workspace)


def test_days_are_launched_before_months_with_what_is_made_from_them() -> None:
    whole = [(DAYS[0], DAYS[-1])]
    assert planned() == Plan({"daily": {"daily_metrics": whole, "stats": whole}}, waiting=["monthly_report"])


def test_only_the_days_that_are_outdated_are_launched() -> None:
    found = planned(newest(**EVENTS, stg_zones=[(None, 12)]))
    assert found.backfills == {"daily": {"daily_metrics": [(DAYS[0], DAYS[0])], "stats": [(DAYS[0], DAYS[0])]}}


def test_months_are_launched_once_their_days_are_built() -> None:
    of_days = {name: [(key, 60 + place) for place, key in enumerate(DAYS)] for name in ("daily_metrics", "stats")}
    built = newest(**of_days, stg_zones=[(None, 50)])
    assert planned(built, workspace=OFF).backfills == {"monthly": {"monthly_report": [MONTHS]}}
    # Automation builds them by itself.
    assert planned(built) == Plan()


def test_nothing_is_planned_where_nothing_is_outdated() -> None:
    assert planned(newest(**EVENTS, stg_zones=[(None, 6)])) == Plan()


def test_what_is_being_built_is_not_launched_again() -> None:
    backfill = Backfill("abc", "REQUESTED", ("daily_metrics", "stats"), 4, NOW)
    found = planned(runs=Runs(backfills=(backfill,)))
    assert found == Plan(in_progress=["daily_metrics", "stats"], waiting=["monthly_report"])


def test_a_day_of_a_run_in_progress_is_not_launched_again() -> None:
    run = failed_run("daily_metrics", DAYS[0], last=DAYS[1], status="STARTED", ended=None)
    busy = replace(BY_ZONE, in_progress=frozenset(DAYS[:2]))
    found = planned(runs=Runs((run,)), daily_metrics=busy)
    assert (found.backfills["daily"]["daily_metrics"], found.in_progress) == ([(DAYS[2], DAYS[3])], ["daily_metrics"])


def test_the_days_of_a_month_that_is_being_loaded_wait() -> None:
    load = failed_run(first=MONTHS[0], status="STARTED", ended=None)
    found = planned(runs=Runs((load,)), taxi_trips=replace(TRIPS, in_progress=frozenset(MONTHS[:1])))
    assert found.backfills == {"daily": {name: [(DAYS[2], DAYS[3])] for name in ("daily_metrics", "stats")}}
    assert found.waiting == ["daily_metrics", "stats", "monthly_report"]


def test_what_is_stale_is_launched_only_where_automation_is_off() -> None:
    built = newest(**EVENTS, stg_zones=[(None, 6)], taxi_trips=[(MONTHS[0], 30), (MONTHS[1], 2)])
    assert planned(built) == Plan()
    assert list(planned(built, workspace=OFF).backfills["daily"]) == ["daily_metrics", "stats"]


def test_what_was_never_built_is_not_launched_and_does_not_wait() -> None:
    without = newest(**EVENTS, stg_zones=[(None, 50)], monthly_report=[])
    without = {one: built for one, built in without.items() if one != ("stats", DAYS[0])}
    days = {"daily_metrics": [(DAYS[0], DAYS[-1])], "stats": [(DAYS[1], DAYS[-1])]}
    assert planned(without) == Plan({"daily": days})


def test_what_automation_builds_is_not_called_nothing_outdated() -> None:
    stale = statuses(newest(**EVENTS, stg_zones=[(None, 6)], taxi_trips=[(MONTHS[0], 30), (MONTHS[1], 2)]))
    assert nothing_to_launch(stale, ON.automated) == (
        "Nothing to launch: what make status shows as stale is built by automation."
    )
    assert nothing_to_launch(statuses(newest(**EVENTS, stg_zones=[(None, 6)])), ON.automated) == "Nothing is outdated."


def test_what_is_stale_without_partitions_is_named_where_automation_is_off() -> None:
    loaded = Asset("taxi_zones", "ingestion_location")
    model = replace(ZONES_MODEL, parents=("taxi_zones",))
    stale = asset_statuses([loaded, model], (), (), newest(taxi_zones=[(None, 50)], stg_zones=[(None, 6)]))
    assert nothing_to_launch(stale, OFF.automated) == (
        "Nothing to launch. Materialize stg_zones: older than upstream data, and automation is off."
    )
