"""A load in a process that tests kill; a pipe has its log."""

import multiprocessing
import os
import tempfile
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from ingestion_location.defs.trips.month_load import load_month
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse

JANUARY = (datetime(2023, 1, 1), datetime(2023, 2, 1))
# A process with everything imported, which forks for each load, so a load starts within milliseconds.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def load_january(base_url: str, warehouse: dict[str, object], temporary: str, pipe: Connection) -> None:
    """Loads January and sends every line of its log; the run id has the process id."""
    tempfile.tempdir = temporary
    source = TlcSource(base_url=base_url, taxi_type="yellow")
    load_month(source, Warehouse.model_validate(warehouse), *JANUARY, f"run of {os.getpid()}", pipe.send)


def start_load(base_url: str, warehouse: Warehouse, temporary: Path) -> tuple[BaseProcess, Connection]:
    """Starts a load and returns its process and its log."""
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    arguments = (base_url, warehouse.model_dump(), str(temporary), sender)
    process = _CONTEXT.Process(target=load_january, args=arguments, daemon=True)
    process.start()
    sender.close()
    return process, receiver
