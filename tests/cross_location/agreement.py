"""Random histories of loads, builds, reloads and new zones, and what three places say about each moment of them.

They are automation, which builds until nothing is left to do, the location's refusal of a month, and ops/lineage.py,
which the status screen and the demo use. Run by dbt_location's own Python; runs do nothing here but leave their events.
Prints as JSON what happened in each history, and stops with a traceback where two of the three do not agree.

usage: agreement.py SEED …
"""

import gc
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dbt_location.definitions import defs  # type: ignore[import-not-found]
from dbt_location.required_upstream import gaps  # type: ignore[import-not-found]

from ops.contract.compare import lineage_assets
from ops.contract.describe import describe
from ops.lineage import Key, Lineage, Materialization, Partition

GRAPH = defs.resolve_asset_graph()
ASSETS = {asset.key: asset for asset in lineage_assets(describe("dbt_location", defs))}
OWN = [name for name in Lineage(ASSETS.values(), {}).order() if ASSETS[name].materializable]
DAILY = [name for name in OWN if ASSETS[name].cadence == "daily"]
MONTHLY = [name for name in OWN if ASSETS[name].cadence == "monthly"]
MONTHS = ASSETS["taxi_trips"].keys
# A history settles in far fewer.
MOST_TICKS = 20


class Platform:
    """Stands in for the daemon and for all runs: ticks, and records the events of runs."""

    def __init__(self) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: Any = None
        self.tick()

    def tick(self) -> dict[str, list[Key]]:
        """What the next tick requests, per asset."""
        result = dg.evaluate_automation_conditions(
            defs=defs, instance=self.instance, asset_selection=dg.AssetSelection.assets(*OWN), cursor=self.cursor
        )
        self.cursor = result.cursor
        requested: dict[str, list[Key]] = {}
        for name in OWN:
            key = dg.AssetKey(name)
            if result.get_num_requested(key):
                partitions = result.get_requested_partitions(key)
                requested[name] = [*sorted(map(str, partitions))] if ASSETS[name].kind else [None]
        return requested

    def build(self, assets: Sequence[str], keys: Sequence[Key]) -> None:
        """Records that a run built these partitions, asset by asset, as a run does."""
        for name in assets:
            for key in keys:
                self.instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=key))

    def lineage(self) -> Lineage:
        newest: dict[Partition, Materialization] = {}
        for name, asset in ASSETS.items():
            key = dg.AssetKey(name)
            if asset.kind:
                ids = self.instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
                newest |= {(name, partition): Materialization(id, 0) for partition, id in ids.items()}
            elif records := self.instance.fetch_materializations(key, limit=1).records:
                newest[name, None] = Materialization(records[0].storage_id, 0)
        return Lineage(ASSETS.values(), newest)

    def settle(self) -> set[Partition]:
        """Ticks, and builds what is requested, until nothing is; returns what was built."""
        built = Counter[Partition]()
        for _ in range(MOST_TICKS):
            requested = self.tick()
            if not requested:
                break
            for name, keys in requested.items():
                if ASSETS[name].cadence != "monthly":
                    self.build([name], keys)
            # A run has one month.
            for month in MONTHS:
                self.build([name for name in MONTHLY if month in requested.get(name, ())], [month])
            built.update((name, key) for name, keys in requested.items() for key in keys)
        else:
            raise AssertionError(f"requested again and again: {requested}")
        # A report is built once for its own month, and may be built again for the month before.
        twice = {one for one, times in built.items() if times > 1 and not ASSETS[one[0]].offsets}
        assert not twice, f"built twice: {summary(twice)}"
        return set(built)


def act(platform: Platform, choose: random.Random) -> str:
    """Something happens, unless the location would refuse it; returns what."""
    month = choose.choice(MONTHS)
    lineage = platform.lineage()
    days = [key for key in ASSETS[DAILY[0]].keys if key[:7] == month[:7]]
    action = choose.choice(("load", "load", "zones", "some days", "month", "table"))
    if action == "load":
        platform.build(["taxi_trips"], [month])
    elif action == "zones":
        platform.build(["taxi_zones"], [None])
    elif ("stg_zones", None) not in lineage.newest or ("taxi_trips", month) not in lineage.newest:
        return ""
    elif action == "some days":
        first = choose.randrange(len(days))
        platform.build(DAILY, days[first : first + choose.randint(1, 31)])
    else:
        assets = MONTHLY if action == "month" else [choose.choice(MONTHLY)]
        if refused(platform, assets, month):
            return ""
        platform.build(assets, [month])
    return action


def refused(platform: Platform, assets: Sequence[str], month: str) -> list[str]:
    found: list[str] = gaps(GRAPH, platform.instance, {dg.AssetKey(name) for name in assets}, month)
    return found


def check_refusals(platform: Platform, seen: Counter[str]) -> None:
    """The location refuses a month exactly where something that it requires is missing or stale."""
    lineage = platform.lineage()
    for name in MONTHLY:
        for month in MONTHS:
            lacking = [
                one for one in lineage.required(name, month) if one not in lineage.newest or lineage.is_stale(*one)
            ]
            found = refused(platform, [name], month)
            assert bool(found) == bool(lacking), (name, month, found, lacking[:3])
            seen["refused" if found else "accepted"] += 1


def summary(partitions: set[Partition]) -> str:
    return ", ".join(sorted(f"{name} {key}" for name, key in partitions)[:20])


def history(seed: int) -> Counter[str]:
    choose = random.Random(seed)
    platform, seen = Platform(), Counter[str]()
    if choose.random() < 0.7:
        platform.build(["taxi_zones", "stg_zones"], [None])
    for step in range(5):
        actions = [act(platform, choose) for _ in range(choose.randint(1, 6))]
        seen.update(filter(None, actions))
        check_refusals(platform, seen)
        due = {(name, key) for name, keys in platform.lineage().due().items() for key in keys}
        built = platform.settle()
        assert built == due, (
            seed,
            step,
            actions,
            "automation alone",
            summary(built - due),
            "lineage alone",
            summary(due - built),
        )
        left = platform.lineage()
        assert left.due() == {}, left.due()
        seen["built automatically"] += len(built)
        seen["outdated"] += sum(left.outdated_by(name, key) is not None for name in OWN for key in ASSETS[name].keys)
    return seen


if __name__ == "__main__":
    # The garbage collector would search what is imported again and again.
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    for seed in sys.argv[1:]:
        print(json.dumps(history(int(seed))), flush=True)
