"""What a deploy would break between the locations; pure."""

from collections.abc import Iterable, Sequence

from ops.contract.compare import Asset, breaches


def new_breaches(location: str, now: Sequence[Asset], new: Sequence[Asset], unknown: Iterable[str]) -> list[str]:
    """Compares what the locations need of each other once this one is replaced, both ways.

    Args:
        location: the location that is to be replaced.
        now: the assets of all locations that are loaded now.
        new: the assets that this location would have.
        unknown: the locations that are not loaded, whatever they may have.

    Returns:
        What breaks by this deploy, a sentence each. What is broken already and stays so is not its doing.
    """
    others = [asset for asset in now if asset["location"] != location]
    after = [*others, *new]
    if set(unknown) - {location}:
        # What nobody else makes may be made by a location that is not loaded.
        after = _without_orphans(after)
    # Where this location is not loaded, what the others lack for that is not broken for good: the new one must have it.
    before = _without_orphans(others) if location in unknown else now
    already = breaches(before)
    return [breach for breach in breaches(after) if breach not in already]


def _without_orphans(assets: Sequence[Asset]) -> list[Asset]:
    """The assets without those needs whose key no location makes."""
    made = {asset["key"] for asset in assets if asset["materializable"]}
    return [asset for asset in assets if asset["key"] in made]
