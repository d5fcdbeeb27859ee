"""The failed runs whose partitions were not built since."""

from collections.abc import Sequence
from dataclasses import dataclass

from ops.lineage import Key, Newest
from ops.status.facts import Events, Facts, Run, Runs, Workspace, known
from ops.status.partitions import BUILT, FAILED, OUTDATED, STALE, AssetStatus, Range, covered, format_ranges, ranges

# How long after the end of a lost run the daemon may take to retry it; it looks every half minute.
RETRY_SECONDS = 300


# What the kernel and Python say when a container has as many processes and threads as it may.
NO_MORE_PROCESSES = ("Resource temporarily unavailable", "can't start new thread")


@dataclass(frozen=True)
class Failure:
    """An unresolved failure; ``run`` is None where the run is older than the failed runs that were read."""

    run: Run | None
    location: str
    assets: tuple[str, ...]
    ranges: tuple[Range, ...]
    reason: str
    retrying: bool = False  # the daemon will launch it again

    @property
    def label(self) -> str:
        what = ", ".join(self.assets) or (self.run.job if self.run else "")
        return f"{what} {format_ranges(self.ranges)}".strip()


def unresolved(facts: Facts, statuses: Sequence[AssetStatus], newest: Newest) -> list[Failure]:
    """The failed runs whose partitions have neither been built since nor are being built, newest first.

    A run that failed after it had built its partitions, as on an asset check, is unresolved until they are built again.
    A partition on which several runs failed counts for the newest of them.
    """
    reasons = known(facts.events, Events({}, {})).reasons
    last_runs = known(facts.workspace, Workspace()).last_runs or {}
    left = {status.asset.key: {key for key, state in status.states.items() if state == FAILED} for status in statuses}
    order = {status.asset.key: status.asset.keys for status in statuses}
    failures = []
    for run in known(facts.runs, Runs()).failed:
        affected: dict[str, Sequence[Key]] = {}
        for status in statuses:
            asset = status.asset.key
            if keys := [key for key in covered(run, status.asset) if key in left[asset]]:
                affected[asset] = keys
                left[asset].difference_update(keys)
        affected = affected or _built_before_it_failed(run, statuses, newest)
        is_last_of_job = not run.assets and last_runs.get((run.location, run.job)) == run.id
        if affected or is_last_of_job:
            every_key = {key for keys in affected.values() for key in keys}
            keys_in_order = order[next(iter(affected))] if affected else ()
            found = tuple(ranges(keys_in_order, every_key.__contains__))
            retrying = run.will_retry and facts.time - (run.ended or run.created) < RETRY_SECONDS
            reason = _explained(reasons.get(run.id, ""))
            failures.append(Failure(run, run.location, tuple(affected), found, reason, retrying))
    for status in statuses:
        asset = status.asset.key
        if left[asset]:
            reason = "the failed run is older than the newest failed runs, and reasons are read for those only"
            failed_ranges = tuple(ranges(order[asset], left[asset].__contains__))
            failures.append(Failure(None, status.asset.location, (asset,), failed_ranges, reason))
    return failures


def _explained(reason: str) -> str:
    if any(text in reason for text in NO_MORE_PROCESSES):
        return f"{reason} (a run may have as many processes and threads as the setting RUN_PIDS_LIMIT says)"
    return reason


def _built_before_it_failed(run: Run, statuses: Sequence[AssetStatus], newest: Newest) -> dict[str, Sequence[Key]]:
    """The keys of a run that built all of them before it failed, if none was built since; otherwise nothing."""
    affected = {}
    for status in statuses:
        for key in (keys := covered(run, status.asset)):
            built = newest.get((status.asset.key, key))
            if (
                status.states[key] not in (BUILT, STALE, OUTDATED)
                or built is None
                or run.started is None
                or run.ended is None
            ):
                return {}
            if not run.started <= built.time <= run.ended:
                return {}
        if keys:
            affected[status.asset.key] = keys
    return affected
