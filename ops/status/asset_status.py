"""The state of each partition of each asset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ops.status.facts import Asset, Key, Newest, Run
from ops.status.lineage import Lineage
from ops.status.ranges import Range, ranges

# The states of a partition, in the order in which they are shown. An unpartitioned asset has the one key None.
BUILT = "built"
STALE = "stale"  # something upstream was built since
MISSING = "missing"
FAILED = "failed"
RUNNING = "running"
QUEUED = "queued"
UNKNOWN = "unknown"
STATES = (BUILT, STALE, MISSING, FAILED, RUNNING, QUEUED, UNKNOWN)

# Statuses of a run that waits.
WAITING = ("QUEUED", "NOT_STARTED", "MANAGED")


@dataclass(frozen=True)
class AssetStatus:
    asset: Asset
    states: Mapping[Key, str]

    def count(self, state: str) -> int:
        return list(self.states.values()).count(state)

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
    depths = _depths(assets)
    ordered = sorted(assets, key=lambda asset: (asset.kind is None, depths[asset.key], asset.key))
    statuses = [_status(asset, lineage, unfinished, failed, newest) for asset in ordered]
    # An asset that another system makes and nobody has reported is neither there nor missing.
    return [status for status in statuses if status.asset.materializable or set(status.states.values()) - {MISSING}]


def _status(
    asset: Asset, lineage: Lineage, unfinished: Sequence[Run], failed: Sequence[Run], newest: Newest | None
) -> AssetStatus:
    running = {key for run in unfinished if run.status not in WAITING for key in covered(run, asset)}
    waiting = {key for run in unfinished if run.status in WAITING for key in covered(run, asset)} - running
    states: dict[Key, str] = {}
    for key in asset.keys if asset.kind else (None,):
        built = (newest or {}).get((asset.key, key))
        source = lineage.source(asset.key, key)
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
        else:
            states[key] = STALE if built and source and source.id > built.id else BUILT
    return AssetStatus(asset, states)


def _depths(assets: Sequence[Asset]) -> Mapping[str, int]:
    parents = {asset.key: asset.parents for asset in assets}

    @cache
    def depth(key: str) -> int:
        return max((depth(parent) + 1 for parent in parents.get(key, ()) if parent != key), default=0)

    return {key: depth(key) for key in parents}
