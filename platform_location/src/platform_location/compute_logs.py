"""Deleting what the steps of old runs printed: a folder per run among the compute logs."""

import uuid
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from platform_location.run_containers import FINISHED

# Folders whose runs are looked up in one query.
BATCH = 500


@dataclass(frozen=True)
class Folders:
    """Folders of compute logs.

    Attributes:
        number: how many.
        bytes: size of the files in them.
    """

    number: int = 0
    bytes: int = 0


def prune_folders(instance: DagsterInstance, ended_before: float, *, dry_run: bool) -> Folders:
    """Deletes the folders of runs that ended before a moment, and of deleted runs that were written to before it last.

    Folders that are not named by a run's id, such as those of sensors, stay. Where the compute logs are not files of
    this machine, there is nothing to delete here. Whether a folder goes depends on what stays, the run's row, so a
    repetition goes on where an interrupted one stopped.

    Args:
        instance: the instance.
        ended_before: seconds since the epoch.
        dry_run: counts and deletes nothing.
    """
    manager = instance.compute_log_manager
    if not isinstance(manager, LocalComputeLogManager):
        return Folders()
    base = Path(manager.get_captured_local_path(["folder", "file"], "out")).parents[1]
    names = sorted(path.name for path in base.iterdir() if _is_run_id(path.name)) if base.is_dir() else []
    found = Folders()
    for start in range(0, len(names), BATCH):
        some = names[start : start + BATCH]
        records = {
            record.dagster_run.run_id: record for record in instance.get_run_records(dg.RunsFilter(run_ids=some))
        }
        for name in some:
            if _is_old(base / name, records.get(name), ended_before):
                size = sum(path.stat().st_size for path in (base / name).rglob("*") if path.is_file())
                found = Folders(found.number + 1, found.bytes + size)
                if not dry_run:
                    manager.delete_logs(prefix=[name])
    return found


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
