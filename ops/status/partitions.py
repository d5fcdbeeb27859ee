"""The states of the partitions of each asset, and ranges of partitions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ops.lineage import Asset, Key, Lineage, Newest
from ops.status.facts import Run

Range = tuple[str, str]


def ranges(keys: Iterable[str], chosen: Callable[[str], bool]) -> list[Range]:
    """The chosen keys as ranges of neighbours; ``keys`` are all keys in order."""
    found = []
    for is_chosen, members in groupby(keys, chosen):
        if is_chosen:
            first, *others = members
            found.append((first, others[-1] if others else first))
    return found


def format_ranges(found: Sequence[Range], most: int = 1000) -> str:
    """Ranges as text, ``2023-01-01..2023-01-05, 2023-01-09``; those beyond so many are counted."""
    parts = [first if first == last else f"{first}..{last}" for first, last in found[:most]]
    more = [f"{len(found) - most} more"] if len(found) > most else []
    return ", ".join(parts + more)


# The states of a partition, in the order in which they are shown. An unpartitioned asset has the one key None.
BUILT = "built"
STALE = "stale"  # something upstream was built since; it is built again automatically
OUTDATED = "outdated"  # something without partitions was built since, such as the zones; it is built again on request
MISSING = "missing"
FAILED = "failed"
RUNNING = "running"
QUEUED = "queued"
UNKNOWN = "unknown"
STATES = (BUILT, STALE, OUTDATED, MISSING, FAILED, RUNNING, QUEUED, UNKNOWN)

# Statuses of a run that waits.
WAITING = ("QUEUED", "NOT_STARTED", "MANAGED")


@dataclass(frozen=True)
class AssetStatus:
    asset: Asset
    states: Mapping[Key, str]

    def keys(self, state: str) -> list[Key]:
        return [key for key, its_state in self.states.items() if its_state == state]

    def count(self, state: str) -> int:
        return len(self.keys(state))

    def ranges(self, state: str) -> list[Range]:
        return ranges(self.asset.keys, lambda key: self.states[key] == state)


def covered(run: Run, asset: Asset) -> Sequence[Key]:
    """The keys of an asset that a run is to build."""
    if asset.key in run.assets:
        if asset.kind is None:
            return (None,)
        if run.first in asset.keys and run.last in asset.keys:
            return asset.keys[asset.keys.index(run.first) : asset.keys.index(run.last) + 1]
    return ()


def asset_statuses(
    assets: Sequence[Asset], unfinished: Sequence[Run], failed: Sequence[Run], newest: Newest | None
) -> list[AssetStatus]:
    """The status of each asset, partitioned ones first, upstream before downstream.

    ``newest`` is None where the event log is unknown. Then nothing is stale, and the state of an unpartitioned asset is
    unknown.
    """
    lineage = Lineage(assets, newest or {})
    order = lineage.order()
    ordered = sorted(assets, key=lambda asset: (asset.kind is None, order.index(asset.key)))
    statuses = [_status(asset, lineage, unfinished, failed, newest) for asset in ordered]
    # An external asset without a reported event is neither built nor missing.
    return [status for status in statuses if status.asset.materializable or set(status.states.values()) - {MISSING}]


def _status(
    asset: Asset, lineage: Lineage, unfinished: Sequence[Run], failed: Sequence[Run], newest: Newest | None
) -> AssetStatus:
    running = {key for run in unfinished if run.status not in WAITING for key in covered(run, asset)}
    waiting = {key for run in unfinished if run.status in WAITING for key in covered(run, asset)} - running
    states: dict[Key, str] = {}
    for key in asset.every_key:
        built = (newest or {}).get((asset.key, key))
        if asset.kind:
            is_there, has_failed, is_busy = key in asset.materialized, key in asset.failed, key in asset.in_progress
        else:
            is_there, is_busy = built is not None, key in running | waiting
            ends = [run.ended or run.created for run in failed if key in covered(run, asset)]
            has_failed = any(built is None or built.time < end for end in ends)
        if is_busy:
            states[key] = QUEUED if key in waiting else RUNNING
        elif newest is None and not asset.kind:
            states[key] = UNKNOWN
        elif has_failed:
            states[key] = FAILED
        elif not is_there:
            states[key] = MISSING
        elif lineage.is_stale(asset.key, key):
            states[key] = STALE
        else:
            states[key] = OUTDATED if lineage.outdated_by(asset.key, key) else BUILT
    return AssetStatus(asset, states)
