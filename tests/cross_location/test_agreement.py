"""Automation, the refusal of a month and the operator's tools decide alike what is current."""

import json
import os
import subprocess
from collections import Counter

import pytest

from ops.command import ROOT

# So many of each happen in the histories, whatever else does.
EVERYTHING = {"load", "zones", "some days", "month", "table", "refused", "accepted", "built automatically", "outdated"}


def histories(*seeds: int) -> Counter[str]:
    """What happened in these histories; there is no answer where two places do not agree."""
    python, script = f"{ROOT}/dbt_location/.venv/bin/python", f"{ROOT}/tests/cross_location/agreement.py"
    command = [python, "-P", "-W", "ignore", script, *map(str, seeds)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("TAXI_")}
    ended = subprocess.run(command, env={**env, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return sum((Counter(json.loads(line)) for line in ended.stdout.splitlines()), Counter[str]())


@pytest.mark.drill
@pytest.mark.parametrize(
    "seeds", [range(5, 8), pytest.param(range(8, 19), marks=pytest.mark.release)], ids=["three", "eleven more"]
)
def test_automation_refusal_status_and_demo_agree_on_what_is_current_after_any_history(seeds: range) -> None:
    assert set(histories(*seeds)) >= EVERYTHING
