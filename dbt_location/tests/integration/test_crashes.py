"""A dbt run that is killed leaves each model's window as it was or as it should be, and the next run ends right."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from integration.conftest import ANALYTICS, PARSED

pytestmark = pytest.mark.drill

# Every second one in CI, all before a release.
MOMENTS = [pytest.param(moment, marks=pytest.mark.release if moment % 2 else ()) for moment in range(6)]
MODELS = ("stg_trips", "daily_metrics", "location_metrics")
TRIPS = [f"2023-01-{day:02} 12:00" for day in range(1, 29)]
TABLES = "select relname::text from pg_class where relnamespace = 'analytics'::regnamespace and relkind in ('r', 'v')"


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("model", MODELS)
def test_a_dbt_run_killed_at_any_moment_leaves_the_window_old_or_new_and_the_next_run_is_right(
    add_trips: Any, build: Any, query: Any, table: Any, target: Path, tmp_path: Path, model: str, moment: int
) -> None:
    add_trips(*TRIPS)
    build("2023-01-01", "2023-02-01")
    old = {mart: table(mart) for mart in MODELS[1:]}
    query("update raw_taxis.trips set total_amount = 20")
    add_trips(*TRIPS[:14])
    shutil.copy(target / PARSED, tmp_path)
    kill_in(model, 0.02 * moment, tmp_path)
    left = {mart: table(mart) for mart in MODELS[1:]}
    build("2023-01-01", "2023-02-01")
    new = {mart: table(mart) for mart in MODELS[1:]}
    assert all(left[mart] in (old[mart], new[mart]) for mart in left)
    assert [row[1] for row in new["daily_metrics"]] == [2] * 14 + [1] * 14
    models = ("daily_metrics", "location_metrics", "model_locks", "stg_trips", "stg_zones")
    assert sorted(query(TABLES)) == [(name,) for name in models]


def kill_in(model: str, seconds: float, folder: Path) -> None:
    """Starts dbt and kills it some time after it has started with a model."""
    command = [str(Path(sys.executable).with_name("dbt")), "run", "--no-use-colors", "--threads", "1"]
    command += ["--project-dir", str(ANALYTICS), "--profiles-dir", str(ANALYTICS)]
    command += ["--target-path", str(folder), "--log-path", str(folder)]
    command += ["--event-time-start", "2023-01-01", "--event-time-end", "2023-02-01"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as dbt:
        assert dbt.stdout is not None
        for line in dbt.stdout:
            if " START " in line and f".{model} " in line:
                break
        # The moments are spread over the tenth of a second that a model takes.
        time.sleep(seconds)
        dbt.kill()
    assert dbt.returncode == -signal.SIGKILL
