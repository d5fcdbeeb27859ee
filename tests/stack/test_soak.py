"""A short soak: runs of both locations while parts of the stack are killed at random (tests/stack/soak.py)."""

from pathlib import Path

import pytest

from tests.stack.conftest import Stack
from tests.stack.kills import SOONER, START_SOONER, start_impatient
from tests.stack.left import Sample, slope
from tests.stack.soak import PARTS, SETTINGS, Kill, plan, soak


@pytest.mark.drill
@pytest.mark.release
def test_after_random_kills_no_run_is_in_limbo_no_table_is_wrong_and_nothing_is_left(
    project: Stack, tmp_path: Path
) -> None:
    start_impatient(project, SOONER | START_SOONER, **SETTINGS)
    assert soak(project, tmp_path, seed=15, runs=25, seconds=90, runs_per_kill=3).problems == []


def test_a_seed_gives_the_same_runs_and_kills_each_time_and_kills_every_part() -> None:
    steps = list(plan(7, 1000, 8))
    assert steps == list(plan(7, 1000, 8)) != list(plan(8, 1000, 8))
    assert {step.part for step in steps if isinstance(step, Kill)} == {*PARTS}


def test_memory_that_grows_within_each_life_of_a_container_is_found_although_restarts_give_it_back() -> None:
    samples = [Sample(f"{runs // 100}", runs, 200 + 0.05 * (runs % 100)) for runs in range(0, 400, 20)]
    assert slope(samples) == pytest.approx((5.0, 0.0), abs=1e-9)
