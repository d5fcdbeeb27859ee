"""Partition keys as ranges."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

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
