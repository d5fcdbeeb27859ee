"""What should be built and is not being built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.lineage import Lineage, Partition
from ops.status.facts import Runs
from ops.status.partitions import BUILT, MISSING, OUTDATED, STALE, AssetStatus, Range, ranges


@dataclass(frozen=True)
class Overdue:
    """Partitions that could have been built at the time ``since``."""

    location: str
    assets: tuple[str, ...]
    state: str  # STALE or MISSING
    ranges: tuple[Range, ...]
    since: float
    automated: bool


def overdue(statuses: Sequence[AssetStatus], lineage: Lineage, automated: set[str], runs: Runs) -> list[Overdue]:
    """The partitions that are stale, or missing with everything upstream built, and that nothing is building.

    Missing partitions count only in ``automated`` locations: elsewhere nobody requested them.
    """
    states = {(status.asset.key, key): state for status in statuses for key, state in status.states.items()}
    grouped: dict[tuple[str, str, tuple[Range, ...]], dict[str, float]] = {}
    for status in statuses:
        asset = status.asset
        if asset.key in runs.in_backfill or not asset.materializable:
            continue
        for state in (STALE, MISSING) if asset.location in automated else (STALE,):
            since = {
                key: source.time
                for key, its_state in status.states.items()
                if its_state == state
                and (source := lineage.source(asset.key, key))
                and _can_be_built(states, lineage, (asset.key, key))
            }
            if since:
                group = (asset.location, state, tuple(ranges(asset.keys, since.__contains__)))
                grouped.setdefault(group, {})[asset.key] = min(since.values())
    return [
        Overdue(location, tuple(members), state, its_ranges, min(members.values()), location in automated)
        for (location, state, its_ranges), members in grouped.items()
    ]


def _can_be_built(states: Mapping[Partition, str], lineage: Lineage, partition: Partition) -> bool:
    """Whether everything upstream is built, or can be built in the same run; a run has partitions of one cadence."""
    cadence = lineage.assets[partition[0]].cadence
    if any((zones, None) not in lineage.newest for zones in lineage.unpartitioned(partition[0])):
        return False
    for parent in lineage.required(*partition):
        state = states.get(parent, MISSING)
        in_same_run = lineage.assets[parent[0]].cadence == cadence and any(lineage.required(*parent))
        can_follow = in_same_run and state in (STALE, MISSING) and _can_be_built(states, lineage, parent)
        if state not in (BUILT, OUTDATED) and not can_follow:
            return False
    return True
