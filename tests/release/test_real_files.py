"""Real files of the TLC give the known numbers; TLC_FILES names a folder that mirrors the TLC's site."""

import functools
import http.server
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT

TLC_FILES = os.environ.get("TLC_FILES")


@pytest.fixture(scope="module")
def summary(open_folder: Path) -> dict[str, Any]:
    """The summary of `make demo` for green taxis, January to March 2023, served over HTTP."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=TLC_FILES)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        subprocess.run(
            ["make", "demo", f"TLC_BASE_URL={url}", "TLC_TAXI_TYPE=green"],
            cwd=ROOT,
            env={**os.environ, "DEMO_STATE": str(open_folder)},
            check=True,
        )
    finally:
        server.shutdown()
    loaded: dict[str, Any] = json.loads((open_folder / "summary.json").read_text())
    return loaded


@pytest.mark.skipif(not TLC_FILES, reason="TLC_FILES names no folder with real TLC files")
def test_green_2023_01_to_03_gives_the_known_trips_and_strays(summary: dict[str, Any]) -> None:
    assert [(month["rows"], month["strays"]) for month in summary["months"]] == [(68207, 4), (64783, 26), (72035, 9)]


@pytest.mark.skipif(not TLC_FILES, reason="TLC_FILES names no folder with real TLC files")
def test_green_2023_01_to_03_gives_the_known_totals(summary: dict[str, Any]) -> None:
    amount = round(1_486_145.66 + 1_417_671.46 + 1_605_803.28, 2)
    assert (summary["days"], summary["trip_count"], summary["total_amount"]) == (90, 205_025, amount)
