"""Deletes what the steps of old runs printed: a folder per run among the compute logs."""

import uuid
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from platform_location.run_containers import FINISHED

# Folders whose runs are looked up in one query.
BATCH = 500


def prune_compute_logs(instance: DagsterInstance, ended_before: float, *, dry_run: bool) -> tuple[int, int]:
    """Deletes the folders of runs that ended before a time, and those of deleted runs that were last written before it.

    Folders that are not named by a run's id, such as those of sensors, stay. If the compute logs are not local files,
    nothing is deleted. Whether a folder goes depends on the run's row, which stays, so repeating an interrupted call
    completes it. ``ended_before`` is in seconds since the epoch; ``dry_run`` counts, and deletes nothing.

    Returns the number of folders, and the size of their files in bytes.
    """
    manager = instance.compute_log_manager
    if not isinstance(manager, LocalComputeLogManager):
        return 0, 0
    base = Path(manager.get_captured_local_path(["folder", "file"], "out")).parents[1]
    names = sorted(path.name for path in base.iterdir() if _is_run_id(path.name)) if base.is_dir() else []
    folders = size = 0
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        records = instance.get_run_records(dg.RunsFilter(run_ids=batch))
        by_run = {record.dagster_run.run_id: record for record in records}
        for name in batch:
            if _is_old(base / name, by_run.get(name), ended_before):
                folders += 1
                size += sum(path.stat().st_size for path in (base / name).rglob("*") if path.is_file())
                if not dry_run:
                    manager.delete_logs(prefix=[name])
    return folders, size


def _is_run_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _is_old(folder: Path, record: dg.RunRecord | None, ended_before: float) -> bool:
    if record is None:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) < ended_before
    ended = record.dagster_run.status in FINISHED
    return ended and record.end_time is not None and record.end_time < ended_before
