"""Assets that use up what they can, each up to a bound. test_walls_limits.py adds them to a location's image."""

import os
import signal
import time
from pathlib import Path

import dagster as dg

MB = 2**20
# Beyond these the limits are none: the assets stop, and their runs succeed.
MOST_PROCESSES = 3_000
MOST_MEMORY = 4_000 * MB
FLOOD = 80 * MB
SECONDS = 30


@dg.asset
def fork_bomb() -> None:
    children: list[int] = []
    try:
        while len(children) < MOST_PROCESSES:
            if (child := os.fork()) == 0:
                time.sleep(10 * SECONDS)
                os._exit(0)
            children.append(child)
    finally:
        # The others have to work beside it for a while.
        time.sleep(SECONDS)
        for child in children:
            os.kill(child, signal.SIGKILL)


@dg.asset
def memory_hog() -> None:
    taken: list[bytes] = []
    while len(taken) * 16 * MB < MOST_MEMORY:
        taken.append(b"x" * (16 * MB))


@dg.asset
def log_flood() -> None:
    line = b"x" * 1023 + b"\n"
    # The container's own output, and what the step prints.
    with Path("/proc/1/fd/1").open("wb", buffering=0) as container:
        for _ in range(FLOOD // len(line)):
            container.write(line)
    os.write(1, line)


@dg.asset
def cpu_burner() -> dg.MaterializeResult[None]:
    burners = []
    for _ in range(8):
        if (child := os.fork()) == 0:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                pass
            os._exit(0)
        burners.append(child)
    for child in burners:
        os.waitpid(child, 0)
    return dg.MaterializeResult(metadata={"percent of a processor": round(100 * os.times().children_user / SECONDS)})
