"""Launching runs of a location's assets in that location's own Python, and reading how they ended."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType, DagsterInstance

from ops.command import ROOT


class RunFailed(RuntimeError):  # noqa: N818, it says what happened
    """A run failed; the message is the failure's own, and where the whole log is."""


def materialize(
    location: str, assets: Sequence[str], env: Mapping[str, str], *partitions: str, log: Path, instance: DagsterInstance
) -> None:
    """Runs assets of a location and waits for the end.

    Args:
        location: name of the location.
        assets: asset keys.
        env: environment of the run.
        partitions: none, one partition, or the first and the last of a range.
        log: file for everything that the run prints.
        instance: the instance that keeps the run.

    Raises:
        RunFailed: the run failed.
    """
    folder = ROOT / location
    command = _command(folder / ".venv/bin", f"{location}.definitions", ",".join(assets), *partitions)
    before = {record.dagster_run.run_id for record in instance.get_run_records(limit=50)}
    with log.open("w") as output:
        ended = subprocess.run(command, cwd=folder, env=env, stdout=output, stderr=output)
    if ended.returncode != 0:
        raise RunFailed(f"{_reason(instance, before, assets) or _last_line(log)}\nThe whole log: {log}")


def _command(programs: Path, module: str, assets: str, *partitions: str) -> list[str]:
    if len(partitions) == 2:
        # -P keeps the modules beside the script out of the location's imports.
        script = [str(programs / "python"), "-P", str(ROOT / "demo/range_run.py")]
        return [*script, module, assets, "...".join(partitions)]
    options = ["--partition", *partitions] if partitions else []
    return [str(programs / "dagster"), "asset", "materialize", "-m", module, "--select", assets, *options]


def _reason(instance: DagsterInstance, before: set[str], assets: Sequence[str]) -> str | None:
    """The message of the first failed step among the runs of these assets that were not there before."""
    wanted = {dg.AssetKey(asset) for asset in assets}
    for record in instance.get_run_records(limit=50):
        run = record.dagster_run
        if run.run_id in before or not wanted & set(run.asset_selection or ()):
            continue
        for event in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE):
            failure = event.get_dagster_event().step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            if failure.error:
                return (failure.error.cause or failure.error).message.strip()
    return None


def _last_line(log: Path) -> str:
    lines = log.read_text().strip().splitlines()
    return lines[-1] if lines else "The run ended without a message."
