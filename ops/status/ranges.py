"""Partition keys, in order, as ranges."""

from collections.abc import Callable, Iterable, Sequence

Range = tuple[str, str]


def ranges(keys: Iterable[str], chosen: Callable[[str], bool]) -> list[Range]:
    """The chosen ones of keys that are in order; those without another one between them are one range."""
    found: list[Range] = []
    goes_on = False
    for key in keys:
        if chosen(key):
            found[-1:] = [(found[-1][0], key)] if goes_on else [*found[-1:], (key, key)]
            goes_on = True
        else:
            goes_on = False
    return found


def in_words(found: Sequence[Range], most: int = 1000) -> str:
    """Ranges as text: ``2023-01-01..2023-01-05, 2023-01-09``; beyond so many, how many more."""
    said = [first if first == last else f"{first}..{last}" for first, last in found[:most]]
    more = [f"{len(found) - most} more"] if len(found) > most else []
    return ", ".join(said + more)
