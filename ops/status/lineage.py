"""Which partitions are made from which, by the time that they cover."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from ops.status.facts import Asset, Key, Materialization, Newest


class Lineage:
    """Unpartitioned assets are upstream of unpartitioned assets only: new zones make no day stale.

    This is a rule of this project, not of Dagster's.
    """

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
    following = [*starts[1:], None]
    return {
        key: (start, _end(asset.cadence, start, after))
        for key, start, after in zip(asset.keys, starts, following, strict=True)
    }


def _end(cadence: str, start: datetime, following: datetime | None) -> datetime:
    lengths = {"hourly": timedelta(hours=1), "daily": timedelta(days=1), "weekly": timedelta(weeks=1)}
    if cadence == "monthly":
        return (start.replace(day=1) + timedelta(days=31)).replace(day=start.day)
    if cadence in lengths:
        return start + lengths[cadence]
    return following or datetime.max
