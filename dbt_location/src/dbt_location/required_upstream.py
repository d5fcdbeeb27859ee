"""What a month requires, by the dependencies that its assets declare, and what of that lacks.

The rule is in docs/automation.md, "What is current".
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from functools import cache
from typing import Any

import dagster as dg

# A partition of an asset.
Part = tuple[dg.AssetKey, str]


def ranges(days: Iterable[date]) -> str:
    """Days, in order, as text with consecutive ones as a range: ``2023-01-01 to 2023-01-05, 2023-01-09``."""
    found: list[tuple[date, date]] = []
    for day in days:
        follows = found and day == found[-1][1] + timedelta(days=1)
        first = found.pop()[0] if follows else day
        found.append((first, day))
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in found)


def required(graph: Any, part: Part) -> list[Part]:
    """The partitions upstream that overlap a partition's own window; not those before it, nor what has no partitions.

    ``graph`` is the asset graph of the definitions.
    """
    asset, partition = part
    start = graph.get(asset).partitions_def.time_window_for_partition_key(partition).start
    found = []
    for parent in sorted(graph.get(asset).parent_keys):
        upstream = graph.get(parent).partitions_def
        if upstream:
            mapped = graph.get_parent_partition_keys_for_child(partition, parent, asset).partitions_subset
            keys = mapped.get_partition_keys()
            found += [(parent, key) for key in keys if upstream.time_window_for_partition_key(key).end > start]
    return found


def gaps(graph: Any, instance: dg.DagsterInstance, assets: Collection[dg.AssetKey], partition: str) -> list[str]:
    """What this location has to build before a partition of these assets, upstream first; nothing if all is current.

    A partition is named if it is not built, or if something that it requires, directly or not, was built after it.
    """
    requires: dict[Part, list[Part]] = {}
    todo = [(asset, partition) for asset in assets]
    while todo:
        part = todo.pop()
        if part not in requires:
            requires[part] = required(graph, part)
            todo += requires[part]
    by_asset = defaultdict(set)
    for asset, key in requires:
        by_asset[asset].add(key)
    # The storage id of the newest materialization: the event log's own clock, later is larger.
    built: dict[Part, int] = {}
    for asset, keys in by_asset.items():
        latest = instance.get_latest_storage_id_by_partition(asset, dg.DagsterEventType.ASSET_MATERIALIZATION, keys)
        built |= {(asset, key): id for key, id in latest.items()}

    @cache
    def newest(part: Part) -> tuple[int, str]:
        """When the newest of what a partition requires was built, and the asset that it is of."""
        return max(
            (found for up in requires[part] for found in ((built.get(up, 0), up[0].to_user_string()), newest(up))),
            default=(0, ""),
        )

    found = []
    for asset in graph.toposorted_asset_keys:
        if asset in assets or asset not in by_asset or not graph.get(asset).is_materializable:
            continue
        lacking = defaultdict(list)
        for key in sorted(by_asset[asset]):
            when, what = newest((asset, key))
            if (asset, key) not in built:
                lacking["is not built"].append(date.fromisoformat(key))
            elif built[asset, key] < when:
                lacking[f"is older than {what}"].append(date.fromisoformat(key))
        found += [f"{asset.to_user_string()} {state} for {ranges(days)}" for state, days in sorted(lacking.items())]
    return found


def require_whole_month(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """The month of a run, first day and day after the last, once it is sure that it is whole.

    Raises:
        dagster.Failure: something that the run's assets require is missing or not current, or the run is of several
            months; nothing is changed yet.
    """
    # All definitions are loaded by the time that a run is.
    from dbt_location.definitions import defs

    start, end = (bound.date() for bound in context.partition_time_window)
    if end != (start + timedelta(days=31)).replace(day=1):
        raise dg.Failure(
            f"This run covers more than one month ({start:%Y-%m} to before {end:%Y-%m}); its assets are built one "
            "month per run. Nothing was changed. Launch a backfill of these months: it makes a run for each.",
            allow_retries=False,
        )
    if found := gaps(defs.resolve_asset_graph(), context.instance, context.selected_asset_keys, context.partition_key):
        raise dg.Failure(
            f"{start:%Y-%m} is not whole: {'; '.join(found)}. Nothing was changed. "
            "Materialize these partitions, then this month again.",
            allow_retries=False,
        )
    return start, end
