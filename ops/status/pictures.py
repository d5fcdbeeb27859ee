"""What state each partition of each asset is in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ops.status.facts import Asset, Key, Newest, Run
from ops.status.lineage import Lineage
from ops.status.ranges import Range, ranges

# The states of a partition, in the order in which they are shown. Of an asset without partitions None is the one key.
BUILT = "built"
STALE = "stale"  # something that it is made from was built since
MISSING = "missing"
FAILED = "failed"
RUNNING = "running"
QUEUED = "queued"
UNKNOWN = "unknown"
STATES = (BUILT, STALE, MISSING, FAILED, RUNNING, QUEUED, UNKNOWN)

WAITING = ("QUEUED", "NOT_STARTED", "MANAGED")


@dataclass(frozen=True)
class Picture:
    """An asset and the state of each of its keys."""

    asset: Asset
    states: Mapping[Key, str]

    @property
    def is_source(self) -> bool:
        """Whether it is loaded from outside rather than built from other assets."""
        return not self.asset.parents

    def count(self, state: str) -> int:
        """How many keys are in a state."""
        return list(self.states.values()).count(state)

    def ranges(self, state: str) -> list[Range]:
        """The keys in a state, neighbours as one range."""
        return ranges(self.asset.keys, lambda key: self.states[key] == state)


def covered(run: Run, asset: Asset) -> Sequence[Key]:
    """The keys of an asset that a run is of."""
    if asset.key not in run.assets:
        return ()
    if asset.kind is None:
        return (None,)
    if run.first in asset.keys and run.last in asset.keys:
        return asset.keys[asset.keys.index(run.first) : asset.keys.index(run.last) + 1]
    return ()


def pictures(
    assets: Sequence[Asset], unfinished: Iterable[Run], failed: Iterable[Run], newest: Newest | None
) -> list[Picture]:
    """The assets in the order of the data's flow, those with partitions first.

    Args:
        assets: what the workspace has.
        unfinished: the runs that go on or are queued.
        failed: the runs that failed.
        newest: the newest materializations; None where they are not known: then nothing is stale, and the state of what
            has no partitions is unknown.
    """
    lineage = Lineage(assets, newest or {})
    unfinished, failed = list(unfinished), list(failed)
    depths = _depths(assets)
    ordered = sorted(assets, key=lambda asset: (asset.kind is None, depths[asset.key], asset.key))
    found = [_picture(asset, lineage, unfinished, failed, newest) for asset in ordered]
    # What another system makes and nobody has reported is neither missing nor there.
    return [one for one in found if one.asset.materializable or set(one.states.values()) - {MISSING}]


def _picture(
    asset: Asset, lineage: Lineage, unfinished: Sequence[Run], failed: Sequence[Run], newest: Newest | None
) -> Picture:
    going = {key for run in unfinished if run.status not in WAITING for key in covered(run, asset)}
    waiting = {key for run in unfinished if run.status in WAITING for key in covered(run, asset)} - going
    states: dict[Key, str] = {}
    for key in asset.keys if asset.kind else (None,):
        moment = (newest or {}).get((asset.key, key))
        source = lineage.source(asset.key, key)
        outdated = bool(moment and source and source.id > moment.id)
        if asset.kind:
            there, broken, busy = key in asset.materialized, key in asset.failed, key in asset.in_progress
        else:
            there, busy = moment is not None, key in going | waiting
            broken = any(
                key in covered(run, asset) and (moment is None or moment.time < (run.ended or run.created))
                for run in failed
            )
        if busy:
            states[key] = QUEUED if key in waiting else RUNNING
        elif newest is None and not asset.kind:
            states[key] = UNKNOWN
        elif broken:
            states[key] = FAILED
        elif there and outdated:
            states[key] = STALE
        else:
            states[key] = BUILT if there else MISSING
    return Picture(asset, states)


def _depths(assets: Sequence[Asset]) -> Mapping[str, int]:
    """How many assets lie before each one, at most."""
    parents = {asset.key: asset.parents for asset in assets}
    depths: dict[str, int] = {}

    def depth(key: str) -> int:
        if key not in depths:
            depths[key] = 0
            depths[key] = max((depth(parent) + 1 for parent in parents.get(key, ())), default=0)
        return depths[key]

    return {key: depth(key) for key in parents}
