"""Compares rows whose numbers may differ in the last bits of a division."""

import math
from collections.abc import Sequence
from datetime import date
from typing import Any


class Near:
    """Equals any number within a billionth; a hundred thousand of pytest.approx take seconds to compare."""

    __slots__ = ("number",)

    def __init__(self, number: float) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and math.isclose(self.number, other, rel_tol=1e-9, abs_tol=1e-9)

    def __repr__(self) -> str:
        return repr(self.number)


def comparable(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Replaces each number by one that equals any within a billionth, and each date by its text."""
    return [[_comparable(value) for value in row] for row in rows]


def _comparable(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, date):
        return value.isoformat()
    return Near(float(value))


def plain(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Replaces each number by a float and each date by its text."""
    return [
        [
            value
            if value is None or isinstance(value, str | bool)
            else value.isoformat()
            if isinstance(value, date)
            else float(value)
            for value in row
        ]
        for row in rows
    ]
