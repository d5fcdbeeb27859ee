"""Comparing rows that are equal but for the last bits of a division."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest


def comparable(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows with every number as one that may differ by a billionth, and every date as text."""
    return [[_comparable(value) for value in row] for row in rows]


def _comparable(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, date):
        return value.isoformat()
    return pytest.approx(float(value), rel=1e-9, abs=1e-9)


def plain(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows with every number as a float and every date as text."""
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
