"""`make screenshots`: takes the README's pictures from the demo, with `make dev` running, in headless Chromium."""

import os
import subprocess
import sys
import tempfile
from urllib.request import urlopen

from demo.postgres import STATE
from ops.command import ROOT

CHROMIUM = os.environ.get("CHROMIUM", "chromium")
DAGSTER = os.environ.get("DAGSTER_URL", "http://127.0.0.1:3000")
# Every group of the lineage, opened; the UI reads this from the address.
GROUPS = ",".join(f"global@global:{group}" for group in ("raw_taxis", "staging", "marts", "metrics"))


def take(picture: str, url: str, width: int, height: int) -> None:
    """Writes docs/images/PICTURE, width and height in pixels: the page after 20 s of its own time."""
    path = ROOT / "docs/images" / picture
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
        command += [f"--user-data-dir={profile}", f"--window-size={width},{height}", "--virtual-time-budget=20000"]
        subprocess.run([*command, f"--screenshot={path}", url], check=True, stderr=subprocess.DEVNULL)
    print(f"Written: {path.relative_to(ROOT)}")


def take_pictures() -> None:
    """Take the README's pictures, with `python -m demo dev` running: the lineage and the newest monthly report."""
    try:
        urlopen(f"{DAGSTER}/server_info", timeout=10).close()
    except OSError as error:
        sys.exit(f"{DAGSTER} does not answer ({error}); run make demo, then make dev, in another terminal")
    reports = sorted(STATE.glob("reports/2*.html"))
    if not reports:
        sys.exit(f"No report in {STATE}/reports; run make demo")
    take("lineage.png", f"{DAGSTER}/asset-groups?expanded={GROUPS}", 1960, 1300)
    take("monthly_report.png", reports[-1].as_uri(), 880, 1400)
