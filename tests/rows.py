"""Compares rows whose numbers may differ in the last bits of a division."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest


def comparable(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Replaces each number by one that equals any within a billionth, and each date by its text."""
    return [[_comparable(value) for value in row] for row in rows]


def _comparable(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, date):
        return value.isoformat()
    return pytest.approx(float(value), rel=1e-9, abs=1e-9)


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
