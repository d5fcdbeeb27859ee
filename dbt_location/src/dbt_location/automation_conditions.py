"""When the assets of this location are built automatically; an asset's page shows the labels under Automation.

The rule that decides what is current is in docs/automation.md, "What is current".
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

AC = dg.AutomationCondition
Condition = dg.AutomationCondition[Any]

# What another location loads. Its runs and this location's are never the same.
TRIPS = dg.AssetKey("taxi_trips")
MONTH_LOADED = AC.asset_matches(TRIPS, AC.newly_updated())
LOADED = dg.AssetSelection.assets(TRIPS, "taxi_zones")
# Upstream without partitions: it must exist, and an update of it rebuilds nothing. Otherwise one new name in the zone
# lookup would rebuild the whole history, years of it, without a request.
ZONES_MODEL = dg.AssetSelection.assets("stg_zones")
ZONES = ZONES_MODEL | dg.AssetSelection.assets("taxi_zones")

IN_PROGRESS = AC.in_progress().with_label("it is being built")
# A tick first reads what was updated and then what is in progress. A build that ends in between looks neither updated
# nor in progress and would be requested again. The next tick sees that it was updated.
JUST_ENDED = (AC.newly_requested() | ((~IN_PROGRESS).newly_true() & ~AC.initial_evaluation())).with_label(
    "it was requested or being built at the last tick"
)
# Two conditions, because a backfill counts a partition as in progress for some time after its run has built it.
RUN, BACKFILL = AC.run_in_progress(), AC.backfill_in_progress().newly_true()
UPSTREAM_IN_PROGRESS = AC.any_deps_in_progress().with_label("something upstream is being built")
NOTHING = dg.AssetSelection.assets()


def _newer(update: Condition, what: str, attempt: Condition) -> Condition:
    """An update upstream came after the last build, and no ``attempt`` to build came since: true once per update.

    If update and build fall between the same two ticks, Dagster compares their times, so a month that is loaded again
    while its days are being built is not missed. Dagster does this for a bare condition only, and drops the times of an
    "or" or an "and"; so there are several conditions instead of ``since(newly_requested | newly_updated)``. If more
    than a hundred days are built between two ticks, Dagster uses the tick's time for them, unless the daemon's
    environment raises DAGSTER_MAX_PARTITIONS_FOR_DA_TIMESTAMP_FETCH; a load in these seconds then counts as seen.
    """
    newer = update.since(AC.newly_updated()).with_label(f"{what} since it was built")
    requested = AC.newly_requested().since(update).with_label(f"it was requested since {what}")
    not_attempted = update.since(attempt | BACKFILL).with_label(f"{what} since a build of it was attempted")
    return (newer & ~requested & not_attempted).with_label(f"{what}, and it was not attempted since")


def _not_tried(reason: Condition) -> Condition:
    """A reason that holds until the next build, except for partitions whose last attempt to build did not succeed.

    So a range that failed or was cancelled is not requested again at every tick, whoever launched it. Dagster keeps no
    record of the partitions of a cancelled run, so a tick has to see them in progress; there is a tick every ten
    seconds.
    """
    failed = AC.execution_failed().with_label("its last run failed")
    requested = AC.newly_requested().since(AC.newly_updated()).with_label("it was requested, and not built since")
    started = (RUN | BACKFILL).since(AC.newly_updated()).with_label("a build of it began, and it was not built since")
    return (reason & ~failed & ~requested & ~started).with_label("missing or outdated, and not attempted")


# Evaluated at every tick, so what was loaded before the first tick is found, too. An update is seen only by the tick
# after it, and not by the first tick.
MISSING = AC.missing().with_label("it is missing")


def _any_required(
    condition: Condition, label: str, *, ignore: dg.AssetSelection = NOTHING, lookback: Sequence[str] = ()
) -> Condition:
    """Whether a condition is true of something that is required.

    ``lookback`` are the keys of which the asset also reads the month before. Their own month is required, the month
    before is not. The declared edge leads to both months; the path through the trips, which have the same months, leads
    to the own month only.
    """
    found: Any = AC.any_deps_match(condition).ignore(ignore | dg.AssetSelection.assets(*lookback))
    for key in lookback:
        found |= AC.asset_matches(TRIPS, AC.asset_matches(dg.AssetKey(key), condition))
    labelled: Condition = found.with_label(label)
    return labelled


def _build(label: str, updated: Condition, *unless: Condition, lookback: Sequence[str] = ()) -> Condition:
    """Build what is missing or outdated once all that is required exists and nothing upstream is being built."""
    earlier = dg.AssetSelection.assets(*lookback)
    # Built by hand, or in a run without this asset. In a range, Dagster knows this of the last partition only, so a
    # failed run looks like this for the others; _not_tried then excludes them.
    updated_upstream = AC.any_deps_updated().ignore(LOADED | ZONES_MODEL | earlier)
    # Dagster keeps the memory of a "since" by the kinds of its two parts, so two of "any deps" since "newly updated"
    # would share one. Negated twice, this is of another kind than the one in _newer.
    rebuilt = (~~updated_upstream).since(AC.newly_updated()).with_label("something upstream was built since")
    outdated = (updated | _not_tried(MISSING | rebuilt)).with_label("it is missing or outdated")
    # any_deps_missing alone does not notice a day whose month does not exist, such as today: this asks for proof.
    there = AC.all_deps_match(~AC.missing() | AC.will_be_requested()).ignore(earlier)
    missing = _any_required(AC.missing() & ~AC.will_be_requested(), "something upstream is missing", lookback=lookback)
    condition = outdated & there.with_label("everything upstream exists or is built in the same run")
    for blocker in (missing, UPSTREAM_IN_PROGRESS, IN_PROGRESS, JUST_ENDED, *unless):
        condition &= ~blocker
    return condition.with_label(label)


# What has no partitions.
build_when_upstream_is_loaded = _build(
    "build when upstream is loaded",
    _newer(AC.any_deps_match(AC.newly_updated()).allow(LOADED), "upstream was loaded", RUN.newly_true()),
)

# Looks at the month's load directly, whatever models lie between. So after a month is loaded again, all models of its
# days are built in one run, including those that failed before.
build_when_month_is_loaded = _build(
    "build when its month is loaded",
    # A run that was in progress when the month was loaded does not count as an attempt to build from that load.
    _newer(MONTH_LOADED, "its month was loaded", RUN.newly_true()),
)


def build_when_days_are_current(lookback: Sequence[str] = ()) -> Condition:
    """Build a month once all of its days exist and are as new as the month's trips.

    The days may be built in several runs, and a month built between two of them would be half old, half new. A run
    never has both days and months; the monthly models and what is made from them are built together, in one run. What
    the month reads of the month before (``lookback``, asset keys) may be missing or old; it is waited for only while it
    is being built. After it is built, this month is built again.
    """
    earlier = dg.AssetSelection.assets(*lookback)
    upstream_built = AC.any_deps_match(AC.newly_updated()).ignore(ZONES)
    table_built = AC.any_deps_match(AC.will_be_requested()).ignore(earlier)
    old = MONTH_LOADED.since(AC.newly_updated())
    return _build(
        "build when all of its days are current",
        # A run in progress has most likely built it. If that run fails or is cancelled, nothing is requested.
        _newer(upstream_built, "something that it is made from was built", RUN)
        | table_built.with_label("a table that it shows is built in the same run"),
        _any_required(
            AC.execution_failed() & ~AC.will_be_requested(),
            "the last run of something upstream failed",
            ignore=ZONES,
            lookback=lookback,
        ),
        _any_required(
            old & ~AC.will_be_requested(),
            "something upstream is older than the load of its month",
            ignore=ZONES,
            lookback=lookback,
        ),
        lookback=lookback,
    )
