"""Whatever is in a file of the source, it is loaded, or refused in the project's own words."""

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from ingestion_location.warehouse import Warehouse
from integration import any_files

SECONDS = 75
CASE_SECONDS = 30


@pytest.mark.drill
def test_any_file_is_loaded_or_refused_by_name_and_the_tables_stay(warehouse: Warehouse, tmp_path: Path) -> None:
    seed = os.environ.get("ANY_FILE_SEED") or f"{random.getrandbits(32)}"
    print(f"ANY_FILE_SEED={seed}")
    outcomes: Counter[str] = Counter()
    case, end = 0, time.monotonic() + SECONDS
    process, pipe = any_files.start(tmp_path, warehouse, seed, case)
    try:
        while time.monotonic() < end:
            case = pipe.recv()
            found = pipe.recv() if pipe.poll(CASE_SECONDS) else f"not done after {CASE_SECONDS} s"
            assert found in ("loaded", "refused"), f"ANY_FILE_SEED={seed}, case {case}: {found}"
            outcomes[found] += 1
    except EOFError:
        process.join()
        pytest.fail(f"ANY_FILE_SEED={seed}, case {case}: the process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()
    assert min(outcomes["loaded"], outcomes["refused"]) > 20, outcomes
