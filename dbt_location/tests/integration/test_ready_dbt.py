"""The process of dbt that is ready before its command is known, and the entrypoint that starts it."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from dbt_location.lean_dagster_dbt import DagsterDbtCliRuntimeError
from dbt_location.project import AnalyticsDbt, analytics_project, manifest

from dbt_location import ready_dbt


@pytest.fixture
def ready() -> Iterator["subprocess.Popen[bytes]"]:
    manifest()  # parses what is not parsed
    process = ready_dbt.start()
    yield process
    ready_dbt._ready.clear()
    process.kill()
    process.wait()


def dbt() -> AnalyticsDbt:
    return AnalyticsDbt(project_dir=str(analytics_project.project_dir))


def entrypoint(*command: str) -> "subprocess.CompletedProcess[str]":
    start = [sys.executable, "-P", "-m", "dbt_location.run_start", *command]
    return subprocess.run(start, capture_output=True, text=True, timeout=120)


def test_a_command_of_dbt_runs_in_the_process_that_is_ready(ready: "subprocess.Popen[bytes]") -> None:
    invocation = dbt().cli(["ls", "--select", "tag:monthly", "--resource-type", "model"])
    lines = [event.raw_event["info"]["msg"] for event in invocation.stream_raw_events()]
    assert invocation.process is ready
    assert {line for line in lines if line.startswith("analytics.")} == {
        f"analytics.metrics.{model}" for model in ("borough_flows", "monthly_totals", "zone_pickups")
    }


def test_the_ready_process_fails_with_the_message_of_dbt(
    ready: "subprocess.Popen[bytes]", capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DagsterDbtCliRuntimeError, match="failed with exit code `2`"):
        dbt().cli(["ls", "--nowhere"]).wait()
    assert ready.returncode == 2
    assert "No such option '--nowhere'" in capsys.readouterr().out


def test_dbt_is_started_anew_where_the_ready_process_has_ended(ready: "subprocess.Popen[bytes]") -> None:
    ready.kill()
    ready.wait()
    invocation = dbt().cli(["ls", "--quiet"]).wait()
    assert invocation.process is not ready
    assert invocation.is_successful()


def test_a_ready_process_without_a_command_ends_with_the_process_that_started_it() -> None:
    started = entrypoint("dagster", "api", "execute_run", "--help")
    # Reading to the end means that nobody has the output open.
    assert (started.returncode, started.stderr) == (0, "")
    assert "dagster api execute_run" in started.stdout


def test_the_entrypoint_runs_any_other_command_as_it_is() -> None:
    assert entrypoint("sh", "-c", "echo $0 $1; exit 3", "one", "two").stdout == "one two\n"
