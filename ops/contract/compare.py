"""The contract between the locations: what a consumer declares must lie within what the producer offers."""

from collections.abc import Iterable, Mapping
from typing import Any

Asset = Mapping[str, Any]


def breaches(assets: Iterable[Asset]) -> list[str]:
    """Compares the assets of all locations and returns what is broken, a sentence each; empty means the contract holds.

    Every key has one location that can materialize it. A location that declares another's asset gets the partitions and
    the columns, with the types, that it declares; that the producer has more of them is no breach.

    Args:
        assets: descriptions as ``describe.py`` makes them, of all locations together.
    """
    found = []
    assets = list(assets)
    owners: dict[str, Asset] = {}
    for asset in assets:
        if not asset["materializable"]:
            continue
        if asset["key"] in owners:
            found.append(
                f"{asset['key']}: both {owners[asset['key']]['location']} and {asset['location']} materialize it; "
                "one of them must declare it as an external AssetSpec."
            )
        owners.setdefault(asset["key"], asset)
    for need in assets:
        if need["materializable"]:
            continue
        owner = owners.get(need["key"])
        if owner is None:
            found.append(f"{need['key']}: {need['location']} needs it, and no location materializes it.")
        else:
            found.extend(_unmet(need, owner))
    return found


def _unmet(need: Asset, owner: Asset) -> Iterable[str]:
    who = f"{need['key']}: {need['location']} needs"
    has = f"and {owner['location']} has"
    if need["partitions"] != owner["partitions"]:
        yield f"{who} partitions {need['partitions'] or 'none'}, {has} {owner['partitions'] or 'none'}."
    else:
        missing = [key for key in need["partition_keys"] or () if key not in set(owner["partition_keys"] or ())]
        if missing:
            yield (
                f"{who} the partitions {missing[0]} to {missing[-1]} ({len(missing)}), {has} no such. "
                "Give both locations the same TAXI_START_DATE and TAXI_END_DATE."
            )
    for column, kind in need["columns"].items():
        offered = owner["columns"].get(column)
        if offered is None:
            yield f"{who} the column {column}, {has} no such column."
        elif offered != kind:
            yield f"{who} the column {column} as {kind}, {has} {offered}."
