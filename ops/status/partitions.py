"""The states of the partitions of each asset, which partitions are made from which, and ranges of partitions."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from itertools import groupby, zip_longest
from operator import attrgetter

from ops.status.facts import Asset, Key, Materialization, Newest, Run

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


class Lineage:
    """By a rule of this project, unpartitioned assets are upstream of such assets only: new zones make no day stale."""

    def __init__(self, assets: Iterable[Asset], newest: Newest) -> None:
        self.assets = {asset.key: asset for asset in assets}
        self._newest = newest
        self._windows = {key: windows(asset) for key, asset in self.assets.items() if asset.kind == "TIME_WINDOW"}
        self._starts = {key: [start for start, _ in found.values()] for key, found in self._windows.items()}
        self._sources: dict[tuple[str, Key], Materialization | None] = {}

    def parents(self, asset: str, key: Key) -> Iterator[tuple[str, Key]]:
        """The partitions that a partition is made from directly."""
        for parent in self.assets[asset].parents:
            if parent not in self.assets or parent == asset:  # an asset may depend on its own earlier partitions
                continue
            if key is None and self.assets[parent].kind is None:
                yield parent, None
            elif key is not None and asset in self._windows and parent in self._windows:
                start, end = self._windows[asset][key]
                keys = self.assets[parent].keys
                # The last partition that begins before the window may reach into it.
                for place in range(max(bisect_left(self._starts[parent], start) - 1, 0), len(keys)):
                    begins, ends = self._windows[parent][keys[place]]
                    if begins >= end:
                        break
                    if ends > start:
                        yield parent, keys[place]

    def source(self, asset: str, key: Key) -> Materialization | None:
        """The newest materialization of everything upstream of a partition."""
        partition = (asset, key)
        if partition not in self._sources:
            self._sources[partition] = None
            for parent in self.parents(*partition):
                for found in (self._newest.get(parent), self.source(*parent)):
                    newest = self._sources[partition]
                    if found and (newest is None or found.id > newest.id):
                        self._sources[partition] = found
        return self._sources[partition]


def windows(asset: Asset) -> dict[Key, tuple[datetime, datetime]]:
    """The time that each partition of a time-partitioned asset covers, end exclusive."""
    starts = [datetime.strptime(key, asset.fmt) for key in asset.keys]
    ends = [_end(asset.cadence, start, following) for start, following in zip_longest(starts, starts[1:])]
    return dict(zip(asset.keys, zip(starts, ends, strict=True), strict=True))


def _end(cadence: str, start: datetime, following: datetime | None) -> datetime:
    lengths = {"hourly": timedelta(hours=1), "daily": timedelta(days=1), "weekly": timedelta(weeks=1)}
    if cadence == "monthly":
        return (start.replace(day=1) + timedelta(days=31)).replace(day=start.day)
    if cadence in lengths:
        return start + lengths[cadence]
    return following or datetime.max


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
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for asset in sorted(assets, key=attrgetter("key")):
        sorter.add(asset.key, *(parent for parent in asset.parents if parent != asset.key))
    order = [*sorter.static_order()]
    ordered = sorted(assets, key=lambda asset: (asset.kind is None, order.index(asset.key)))
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
