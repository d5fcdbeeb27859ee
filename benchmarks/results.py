"""``benchmarks/results.json``: what was measured last, per part."""

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("results.json")


def save(part: str, figures: dict[str, Any]) -> None:
    """Writes the figures of a part; those of the others stay."""
    results = json.loads(PATH.read_text()) if PATH.exists() else {}
    results[part] = figures
    PATH.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
