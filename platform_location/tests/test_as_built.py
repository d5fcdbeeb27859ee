"""The definitions load without a network, a database or a setting."""

import json
import os
import subprocess
import sys


def statuses(**settings: str) -> dict[str, str]:
    """Per sensor and schedule its default status, as a new process with these settings has it."""
    code = (
        "import json; from platform_location.definitions import defs;"
        "print(json.dumps({d.name: d.default_status.value for d in [*defs.sensors, *defs.schedules]}))"
    )
    env = {**os.environ, **settings}
    printed = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    loaded: dict[str, str] = json.loads(printed)
    return loaded


def test_sensors_and_schedule_start_with_the_location() -> None:
    assert statuses() == dict.fromkeys(("reaper", "nightly_pruning"), "RUNNING")


def test_housekeeping_that_is_switched_off_is_stopped() -> None:
    assert statuses(HOUSEKEEPING="off") == dict.fromkeys(("reaper", "nightly_pruning"), "STOPPED")


def test_the_definitions_import_neither_docker_nor_an_http_library() -> None:
    code = (
        "import sys, platform_location.definitions; print({'docker', 'requests', 'dagster_docker'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
