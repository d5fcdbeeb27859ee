"""`make docs` builds a site from the pages, and a broken link stops it."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from ops.command import ROOT

SITE = ROOT / "docs/_build"


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, built as by hand."""
    built = subprocess.run(["make", "--no-print-directory", "docs"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return SITE


def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    index = (site / "index.html").read_text()
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert (site / f"{page.stem}.html").exists()
        assert page.stem == "index" or f'class="reference internal" href="{page.stem}.html"' in index, page


def test_the_picture_of_the_services_has_every_service() -> None:
    files = [ROOT / "docker-compose.yml", *ROOT.glob("*_location/compose.yaml")]
    services = {
        name
        for path in files
        for name, service in yaml.safe_load(path.read_text())["services"].items()
        if "profiles" not in service
    }
    picture = (ROOT / "docs/architecture.svg").read_text()
    assert sorted(name for name in services if f">{name}<" not in picture) == []


def test_a_link_that_leads_nowhere_stops_the_build_and_is_named(site: Path, tmp_path: Path) -> None:
    broken = {
        "no-page.md": "[a page](no-page.md)",
        "no-heading": "[a heading](index.md#no-heading)",
        "no-picture.svg": "![a picture](no-picture.svg)",
        "no-file.py": "[a file](../no-file.py)",
    }
    docs = tmp_path / "docs"
    (docs / "_static").mkdir(parents=True)
    (docs / "index.md").write_text("\n\n".join(["# A page", *broken.values()]))
    for file in ("conf.py", "_static/wide.css", ".venv", "requirements.lock"):
        (docs / file).symlink_to(ROOT / "docs" / file)
    make = ["make", f"--makefile={ROOT / 'Makefile'}", "docs"]
    built = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode != 0
    assert [name for name in broken if name not in built.stderr] == []


def test_the_load_in_the_readme_is_the_one_that_was_measured() -> None:
    load = json.loads((ROOT / "benchmarks/results.json").read_text())["ingest"]
    measured = f"loads in {load['seconds']['ours']} s, at {load['share_of_limit']:.0%}".replace("%", " %")
    assert measured in (ROOT / "README.md").read_text()
