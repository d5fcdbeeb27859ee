"""The contract between the locations: what a consumer declares must lie within what the producer offers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ops import lineage

Asset = Mapping[str, Any]


def lineage_assets(assets: Sequence[Asset]) -> list[lineage.Asset]:
    """The same assets with their dependencies; a description has no states of partitions."""
    by_time = {asset["key"] for asset in assets if asset["format"]}
    found = []
    for asset in assets:
        offsets, not_judged = lineage.read_mappings(asset["key"], asset["mappings"], by_time)
        one = lineage.Asset(
            asset["key"],
            asset["location"],
            parents=tuple(asset["upstream"]),
            offsets=offsets,
            not_judged=not_judged,
            materializable=asset["materializable"],
            kind=lineage.BY_TIME if asset["format"] else asset["partitions"],
            cadence=asset["partitions"] or "",
            fmt=asset["format"] or "",
            keys=tuple(asset["partition_keys"] or ()),
        )
        found.append(one)
    return found


def not_judged(assets: Sequence[Asset]) -> list[str]:
    """A sentence for each dependency that ``make status`` cannot judge."""
    return [sentence for asset in lineage_assets(assets) for sentence in asset.not_judged.values()]


def breaches(assets: Sequence[Asset]) -> list[str]:
    """Compares the assets of all locations, as described by ``describe.py``; returns a sentence for each breach.

    Exactly one location can materialize a key. A location that declares another location's asset must find the
    partitions and columns that it declares, with the same types. The producer may have more of them. Every dependency
    must be one that can be judged.
    """
    found = []
    owners: dict[str, Asset] = {}
    for asset in assets:
        if asset["materializable"] and owners.setdefault(asset["key"], asset) is not asset:
            both = f"{owners[asset['key']]['location']} and {asset['location']}"
            step = "one of them must declare it as an external AssetSpec"
            found.append(f"{asset['key']}: both {both} materialize it; {step}.")
    for need in assets:
        if need["materializable"]:
            continue
        if need["key"] in owners:
            found.extend(_unmet(need, owners[need["key"]]))
        else:
            found.append(f"{need['key']}: {need['location']} needs it, and no location materializes it.")
    return found + not_judged(assets)


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


def new_breaches(location: str, now: Sequence[Asset], new: Sequence[Asset], unknown: Iterable[str]) -> list[str]:
    """Returns a sentence for each breach that replacing a location would cause, without those that exist already.

    ``now`` are the assets of all loaded locations, ``new`` those that this location would have; ``unknown`` are the
    locations that are not loaded.
    """
    others = [asset for asset in now if asset["location"] != location]
    after = [*others, *new]
    if set(unknown) - {location}:
        # A location that is not loaded may be the owner of an asset without one.
        after = _without_orphans(after)
    # If this location is not loaded, the needs of the others that it must meet look unmet, but are not breaches yet.
    already = breaches(_without_orphans(others) if location in unknown else now) + not_judged(now)
    return [breach for breach in breaches(after) if breach not in already]


def _without_orphans(assets: Sequence[Asset]) -> list[Asset]:
    made = {asset["key"] for asset in assets if asset["materializable"]}
    return [asset for asset in assets if asset["key"] in made]
