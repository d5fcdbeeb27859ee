"""What should be built and that nothing builds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ops.status.facts import BACKFILL_GOES_ON, Backfill, Key, Newest
from ops.status.lineage import Lineage
from ops.status.pictures import BUILT, MISSING, STALE, Picture
from ops.status.ranges import Range, ranges


@dataclass(frozen=True)
class Unattended:
    """Partitions that should be built and that nothing builds; ``since`` is when they could have been."""

    location: str
    assets: tuple[str, ...]
    state: str
    ranges: tuple[Range, ...]
    since: float
    automated: bool


def unattended(
    found: Sequence[Picture], newest: Newest, automated: Iterable[str], backfills: Iterable[Backfill]
) -> list[Unattended]:
    """What is outdated, or missing although all that it is made from is there, while nothing is under way about it.

    Missing counts in a location that builds by itself alone: elsewhere nobody said that it should be there.

    Args:
        found: the assets' states.
        newest: the newest materializations.
        automated: the locations that build by themselves.
        backfills: those that go on; runs that they have not asked for yet are under way.
    """
    assets = [picture.asset for picture in found]
    states = {(picture.asset.key, key): state for picture in found for key, state in picture.states.items()}
    lineage = Lineage(assets, newest)
    automated = set(automated)
    asked = {asset for backfill in backfills if backfill.status == BACKFILL_GOES_ON for asset in backfill.assets}
    grouped: dict[tuple[str, str, tuple[Range, ...]], list[tuple[str, float]]] = {}
    for picture in found:
        asset = picture.asset
        if asset.key in asked or not asset.materializable:
            continue
        for state in (STALE, MISSING) if asset.location in automated else (STALE,):
            keys = {
                key: source.time
                for key, its in picture.states.items()
                if its == state
                and (source := lineage.source(asset.key, key))
                and _can_be_built(states, lineage, asset.key, key)
            }
            if keys:
                its_ranges = tuple(ranges(asset.keys, keys.__contains__))
                since = min(keys.values())
                grouped.setdefault((asset.location, state, its_ranges), []).append((asset.key, since))
    return [
        Unattended(
            location=location,
            assets=tuple(key for key, _ in members),
            state=state,
            ranges=its_ranges,
            since=min(since for _, since in members),
            automated=location in automated,
        )
        for (location, state, its_ranges), members in grouped.items()
    ]


def _can_be_built(states: Mapping[tuple[str, Key], str], lineage: Lineage, asset: str, key: Key) -> bool:
    """Whether all that it is made from is there, or can be built in the same run; a run never mixes cadences."""
    cadence = lineage.cadence(asset)
    for place in lineage.parents(asset, key):
        state = states.get(place, MISSING)
        in_same_run = lineage.cadence(place[0]) == cadence and any(lineage.parents(*place))
        if state == BUILT or (in_same_run and state in (STALE, MISSING) and _can_be_built(states, lineage, *place)):
            continue
        return False
    return True
