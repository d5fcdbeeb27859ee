"""When the assets of this location are built automatically; an asset's page shows the labels under Automation."""

from typing import Any

import dagster as dg

AC = dg.AutomationCondition
Condition = dg.AutomationCondition[Any]

# What another location loads. Its runs and this location's are never the same.
TRIPS = dg.AssetKey("taxi_trips")
LOADED = dg.AssetSelection.assets(TRIPS, "taxi_zones")
# The zones' model is no reason to build days: the zones carry no day, so one new name in the lookup would rebuild the
# whole history at once, years of it, without a request. It must be there, though. Whoever wants all days to have the
# new zones launches them.
ZONES_MODEL = dg.AssetSelection.assets("stg_zones")
ZONES = ZONES_MODEL | dg.AssetSelection.assets("taxi_zones")

IN_PROGRESS = AC.in_progress().with_label("it is being built")
# A tick reads first what was updated, and then what is in progress. A build that ends in between looks neither updated
# nor in progress, and would be requested again. The next tick sees both.
JUST_ENDED = (AC.newly_requested() | ((~IN_PROGRESS).newly_true() & ~AC.initial_evaluation())).with_label(
    "it was requested or being built at the last tick"
)
UPSTREAM_IN_PROGRESS = AC.any_deps_in_progress().with_label("something upstream is being built")
UPSTREAM_MISSING = AC.any_deps_missing().with_label("something upstream is missing")
# any_deps_missing alone does not notice a day whose month does not exist, such as today: this asks for proof.
UPSTREAM_THERE = AC.all_deps_match(~AC.missing() | AC.will_be_requested()).with_label(
    "everything upstream exists or is built in the same run"
)


def _newer(update: Condition, what: str) -> Condition:
    """An update upstream came after the last build, and nothing was requested since: true once per update.

    Where both fall between the same two ticks, Dagster compares their times, so a month that is loaded again while its
    days are being built is not missed. It does so only for a bare condition, and drops the times of an "or" or an
    "and": hence two of these, and not ``since(newly_requested | newly_updated)``. Of more than a hundred days that are
    built between two ticks it takes the tick's time for theirs, unless the daemon's environment allows more with
    DAGSTER_MAX_PARTITIONS_FOR_DA_TIMESTAMP_FETCH: a load in those very seconds counts as seen by them.
    """
    newer = update.since(AC.newly_updated()).with_label(f"{what} since it was built")
    requested = AC.newly_requested().since(update).with_label(f"it was requested since {what}")
    return (newer & ~requested).with_label(f"{what}, and it was not requested since")


def _not_tried(reason: Condition) -> Condition:
    """A reason that stays until there is a build, without the partitions that were requested without success.

    So a range that fails, or that someone cancels, is not requested again at every tick.
    """
    failed = AC.execution_failed().with_label("its last run failed")
    tried = AC.newly_requested().since(AC.newly_updated()).with_label("it was requested, and has not been built since")
    return (reason & ~failed & ~tried).with_label("missing or outdated, and not attempted")


# Evaluated at every tick, so what was loaded before the first tick is found, too. An update is seen only by the tick
# after it, and not by the first tick.
MISSING = AC.missing().with_label("it is missing")
# By hand, or in a run that did not build this one along. In a range, Dagster knows this of the last partition only, so
# a failed run looks like this for the others, which _not_tried then holds back.
REBUILT = (
    AC.any_deps_updated()
    .ignore(LOADED | ZONES_MODEL)
    .since(AC.newly_updated())
    .with_label("something upstream was built since")
)


def _build(label: str, updated: Condition, *unless: Condition) -> Condition:
    """Build what is missing or outdated once everything upstream exists and none of it is being built."""
    outdated = (updated | _not_tried(MISSING | REBUILT)).with_label("it is missing or outdated")
    condition = outdated & UPSTREAM_THERE & ~UPSTREAM_MISSING & ~UPSTREAM_IN_PROGRESS & ~IN_PROGRESS & ~JUST_ENDED
    for blocker in unless:
        condition &= ~blocker
    return condition.with_label(label)


# What has no partitions.
build_when_upstream_is_loaded = _build(
    "build when upstream is loaded",
    _newer(AC.any_deps_match(AC.newly_updated()).allow(LOADED), "upstream was loaded"),
)

# A day of the month that was loaded, whichever models lie between the two: so a month that is loaded again has all
# models of its days built in one run, those that failed before too.
build_when_month_is_loaded = _build(
    "build when its month is loaded",
    _newer(AC.asset_matches(TRIPS, AC.newly_updated()), "its month was loaded"),
)

# A month that is made from days waits until all of them are there and as new as the month's trips. Its days may come in
# several runs, and a month built between two of them would be half old, half new. A run never has days and months; the
# monthly models and what is made from them are built together, in one run.
_DAY_BUILT = AC.any_deps_match(AC.newly_updated()).ignore(ZONES)
_TABLE_BUILT = AC.any_deps_match(AC.will_be_requested()).with_label("a table that it shows is built in the same run")
_DAY_FAILED = AC.any_deps_match(AC.execution_failed() & ~AC.will_be_requested()).ignore(ZONES)
_OLD = AC.asset_matches(TRIPS, AC.newly_updated()).since(AC.newly_updated())
_DAY_OLD = AC.any_deps_match(_OLD & ~AC.will_be_requested()).ignore(ZONES)
build_when_days_are_current = _build(
    "build when all of its days are current",
    _newer(_DAY_BUILT, "one of its days was built") | _TABLE_BUILT,
    _DAY_FAILED.with_label("the last run of one of its days failed"),
    _DAY_OLD.with_label("one of its days is older than the load of its month"),
)
