"""What a partition depends on, and whether it is stale or outdated: the rule in docs/automation.md, for ops and demo.

An asset's declarations give three kinds of dependencies. Required are the upstream partitions that overlap a
partition's own window. The lookback are those before the window, which a partition mapping with a negative offset adds:
they may be missing. An asset without partitions is required by others without partitions; a partitioned asset only
needs it to exist, and is not built again automatically when it changes. A dependency with any other mapping is not
judged: what is built or missing there changes nothing here.
"""

import re
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from itertools import zip_longest

Key = str | None  # of a partition; None stands for the whole of an unpartitioned asset
Partition = tuple[str, Key]  # asset and key
BY_TIME = "TIME_WINDOW"  # a type of partitions
# Of the start and the end of the upstream window, in partitions; neither is after the own one.
Offsets = tuple[int, int]


@dataclass(frozen=True)
class Asset:
    """An asset and Dagster's states of its partitions; a partition that is in none of them is missing."""

    key: str
    location: str
    parents: tuple[str, ...] = ()
    offsets: Mapping[str, Offsets] = field(default_factory=dict)  # of the parents whose partition mapping has some
    not_judged: Mapping[str, str] = field(default_factory=dict)  # the parents whose mapping is another one, and why
    materializable: bool = True  # False: only declared here; its own location is not loaded, or there is none
    kind: str | None = None  # type of its partitions, such as BY_TIME; None: unpartitioned
    cadence: str = ""  # daily, monthly, …
    fmt: str = ""  # of the partition keys, where they are times
    keys: tuple[str, ...] = ()  # in order
    materialized: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    in_progress: frozenset[str] = frozenset()
    owners: tuple[str, ...] = ()  # such as team:analytics
    late: bool = False  # it has failed its freshness policy

    @property
    def every_key(self) -> Sequence[Key]:
        return self.keys if self.kind else (None,)


@dataclass(frozen=True)
class Materialization:
    """The newest materialization of a partition: its id in the event log, where later is larger, and its time."""

    id: int
    time: float


Newest = Mapping[Partition, Materialization]


class Lineage:
    def __init__(self, assets: Iterable[Asset], newest: Newest) -> None:
        self.assets = {asset.key: asset for asset in assets}
        self.newest = newest
        self._windows = {key: windows(asset) for key, asset in self.assets.items() if asset.kind == BY_TIME}
        self._starts = {key: [start for start, _ in found.values()] for key, found in self._windows.items()}
        self._required: dict[Partition, Materialization | None] = {}

    def order(self) -> list[str]:
        """The keys of the assets, upstream before downstream."""
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for key in sorted(self.assets):
            sorter.add(key, *(parent for parent in self.assets[key].parents if parent in self.assets and parent != key))
        return [*sorter.static_order()]

    def required(self, asset: str, key: Key) -> Iterator[Partition]:
        """What must be built, and be current, before a partition is built."""
        for parent in self._parents(asset):
            if parent == asset:  # an asset may depend on its own earlier partitions
                continue
            if key is None and self.assets[parent].kind is None:
                yield parent, None
            yield from self._overlapping(parent, self._windows.get(asset, {}).get(key))

    def lookback(self, asset: str, key: Key) -> Iterator[Partition]:
        """The upstream partitions before a partition's own window that it also reads; they may be missing."""
        for parent, (first, last) in self.assets[asset].offsets.items():
            if parent in self.assets and key in self._windows.get(asset, {}):
                own, _ = self._windows[asset][key]
                place = bisect_left(self._starts[asset], own)
                end = self._start(asset, min(place + last + 1, place))
                yield from self._overlapping(parent, (self._start(asset, place + first), end))

    def unpartitioned(self, asset: str) -> list[str]:
        """The unpartitioned assets, such as the zones, that a partitioned asset reads; they must exist."""
        return [key for key in self._parents(asset) if self.assets[asset].kind and self.assets[key].kind is None]

    def source(self, asset: str, key: Key) -> Materialization | None:
        """The newest materialization among all that a partition requires, directly or not, and its own lookback."""
        earlier = [self.newest.get(partition) for partition in self.lookback(asset, key)]
        return _latest([self._newest_required((asset, key)), *earlier])

    def is_stale(self, asset: str, key: Key) -> bool:
        """Whether a partition is built, and something that it reads was built after it; automation builds it again."""
        built, source = self.newest.get((asset, key)), self.source(asset, key)
        return bool(built and source and source.id > built.id)

    def outdated_by(self, asset: str, key: Key) -> str | None:
        """The unpartitioned asset, such as the zones, that was built last after a partition; None if none was.

        The partition is built again on request only.
        """
        built = self.newest.get((asset, key))
        since = {
            parent: new
            for parent in self.unpartitioned(asset)
            if built and (new := self.newest.get((parent, None))) and new.id > built.id
        }
        return max(since, key=lambda parent: since[parent].id, default=None)

    def due(self, rebuild: bool = False) -> dict[str, list[Key]]:
        """The partitions to build, per asset, upstream first: missing or stale ones, and those that become stale then.

        Assets with no upstream are left out, as they are loaded. ``rebuild`` adds what is outdated by the zones.
        """
        found: set[Partition] = set()
        due: dict[str, list[Key]] = {}
        for name in self.order():
            for key in self.assets[name].every_key if self.assets[name].materializable else ():
                partition, required = (name, key), [*self.required(name, key)]
                wanted = partition not in self.newest or self.is_stale(*partition)
                wanted |= rebuild and self.outdated_by(*partition) is not None
                wanted |= not found.isdisjoint([*required, *self.lookback(*partition)])
                there = all(one in found or (one in self.newest and not self.is_stale(*one)) for one in required)
                there &= all((one, None) in found or (one, None) in self.newest for one in self.unpartitioned(name))
                if wanted and required and there:
                    found.add(partition)
                    due.setdefault(name, []).append(key)
        return due

    def _parents(self, asset: str) -> list[str]:
        found = self.assets[asset]
        return [parent for parent in found.parents if parent in self.assets and parent not in found.not_judged]

    def _newest_required(self, partition: Partition) -> Materialization | None:
        if partition not in self._required:
            self._required[partition] = None
            above = [*self.required(*partition)]
            found = [*map(self.newest.get, above), *map(self._newest_required, above)]
            self._required[partition] = _latest(found)
        return self._required[partition]

    def _overlapping(self, parent: str, window: tuple[datetime, datetime] | None) -> Iterator[Partition]:
        if window is None or parent not in self._windows:
            return
        start, end = window
        keys = self.assets[parent].keys
        # The last partition that begins before the window may reach into it.
        for place in range(max(bisect_left(self._starts[parent], start) - 1, 0), len(keys)):
            begins, ends = self._windows[parent][keys[place]]
            if begins >= end:
                break
            if ends > start:
                yield parent, keys[place]

    def _start(self, asset: str, place: int) -> datetime:
        """Where a partition begins; a negative place is before the first one, where its upstream may have some."""
        starts = self._starts[asset]
        start = starts[max(place, 0)]
        for _ in range(-place):
            start = _start_before(self.assets[asset].cadence, start)
        return start


def _latest(found: Iterable[Materialization | None]) -> Materialization | None:
    return max(filter(None, found), key=lambda materialization: materialization.id, default=None)


def windows(asset: Asset) -> dict[Key, tuple[datetime, datetime]]:
    """The time that each partition of a time-partitioned asset covers, end exclusive."""
    starts = [datetime.strptime(key, asset.fmt) for key in asset.keys]
    ends = [_end(asset.cadence, start, following) for start, following in zip_longest(starts, starts[1:])]
    return dict(zip(asset.keys, zip(starts, ends, strict=True), strict=True))


_LENGTHS = {"hourly": timedelta(hours=1), "daily": timedelta(days=1), "weekly": timedelta(weeks=1)}


def _end(cadence: str, start: datetime, following: datetime | None) -> datetime:
    if cadence == "monthly":
        return (start.replace(day=1) + timedelta(days=31)).replace(day=start.day)
    if cadence in _LENGTHS:
        return start + _LENGTHS[cadence]
    return following or datetime.max


def _start_before(cadence: str, start: datetime) -> datetime:
    if cadence == "monthly":
        return (start.replace(day=1) - timedelta(days=1)).replace(day=start.day)
    return start - _LENGTHS.get(cadence, timedelta())


# Dagster's own description of a TimeWindowPartitionMapping. Its API has the offsets nowhere else.
_OFFSETS = re.compile(
    r"Maps a downstream partition to any upstream partition with an overlapping time window\."
    r"(?: The start and end of the upstream time window is offsetted by (-?\d+) and (-?\d+) partitions respectively\.)?"
)


def read_mappings(
    asset: str, mappings: Mapping[str, tuple[str, str]], by_time: Container[str]
) -> tuple[dict[str, Offsets], dict[str, str]]:
    """The offsets of an asset's partition mappings, which are given as class and description, per upstream asset.

    The second result has a sentence for each mapping of another kind, or whose upstream window reaches beyond the
    partition's own: such a dependency cannot be judged.

    ``by_time`` has the assets that are partitioned by time; others have no offsets. The webserver's API gives a
    mapping only as text, so this parses Dagster's description; a test compares it with the mappings of the installed
    release. The API gives no text for a mapping without fields, such as LastPartitionMapping; only the contract sees
    those.
    """
    offsets, not_judged = {}, {}
    for parent, (kind, description) in mappings.items():
        if asset not in by_time or parent not in by_time:
            continue
        found = _OFFSETS.fullmatch(description)
        first, last = map(int, found.groups("0")) if found else (0, 0)
        if not (found or kind == "IdentityPartitionMapping") or first > 0 or last > 0:
            not_judged[parent] = (
                f"{asset}: the partitions that it is made from are not known: its dependency on {parent} has a {kind} "
                f"({description}). Declare a TimeWindowPartitionMapping whose offsets are not positive."
            )
        elif first or last:
            offsets[parent] = (first, last)
    return offsets, not_judged
