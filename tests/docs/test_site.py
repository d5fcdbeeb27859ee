"""`make docs` makes a site that needs nothing from anywhere else, and no page of it leads nowhere."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ops.command import ROOT

SITE = ROOT / "docs/_build"
# What a browser fetches by itself, in HTML and in style sheets; a link that is clicked is none of it.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|embed|video|audio)\b[^>]*?\bsrc\s*=\s*["']?([^"'\s>]+)
    |<link\b(?=[^>]*\brel\s*=\s*["']?(?:stylesheet|icon|preload|preconnect|dns-prefetch|manifest))
        [^>]*?\bhref\s*=\s*["']?([^"'\s>]+)
    |<object\b[^>]*?\bdata\s*=\s*["']?([^"'\s>]+)
    |@import\s+(?:url\()?["']?([^"'\s;)]+)
    |\burl\(\s*["']?([^"'\s)]+)""",
    re.VERBOSE | re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, as it is built by hand."""
    built = subprocess.run(["make", "--no-print-directory", "docs"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return SITE


def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    index = (site / "index.html").read_text()
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert (site / f"{page.stem}.html").exists()
        assert page.stem == "index" or f'class="reference internal" href="{page.stem}.html"' in index, page


def test_a_browser_fetches_nothing_from_another_host(site: Path) -> None:
    fetched = {
        (path.name, next(filter(None, url)))
        for path in site.rglob("*")
        if path.suffix in {".html", ".css", ".svg"}
        for url in FETCHED.findall(path.read_text())
    }
    assert ("index.html", "_images/owners.svg") in fetched
    assert [one for one in sorted(fetched) if re.match(r"(?:[a-z]+:)?//", one[1])] == []


def test_the_picture_of_what_runs_has_every_service() -> None:
    listed = subprocess.run(["git", "ls-files", "*.yml", "*.yaml"], cwd=ROOT, capture_output=True, text=True).stdout
    # Those at the top and in a location's folder are what docker compose starts; the others are the tests' variants.
    files = [ROOT / name for name in listed.splitlines() if Path(name).name in {"docker-compose.yml", "compose.yaml"}]
    services = {
        name
        for path in files
        for name, service in yaml.safe_load(path.read_text())["services"].items()
        if "profiles" not in service
    }
    assert {"postgres", "reports"} <= services
    picture = (ROOT / "docs/architecture.svg").read_text()
    assert sorted(name for name in services if f">{name}<" not in picture) == []


def test_no_page_has_a_place_that_is_still_to_be_filled() -> None:
    pages = sorted((ROOT / "docs").glob("*.md"))
    left = [
        (page.name, found) for page in pages for found in re.findall(r"@@\w+@@|^[A-Z]{4,}$", page.read_text(), re.M)
    ]
    assert left == []


def test_a_link_that_leads_nowhere_stops_the_build_and_is_named(site: Path, tmp_path: Path) -> None:
    broken = {
        "no-page.md": "[a page](no-page.md)",
        "no-heading": "[a heading](index.md#no-heading)",
        "no-picture.svg": "![a picture](no-picture.svg)",
        "no-file.py": "[a file](../no-file.py)",
    }
    for path in (ROOT / "docs/conf.py", ROOT / "docs/_static/wide.css"):
        copy = tmp_path / "docs" / path.relative_to(ROOT / "docs")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    (tmp_path / "docs/index.md").write_text("\n\n".join(["# A page", *broken.values()]))
    (tmp_path / "docs/.venv").symlink_to(ROOT / "docs/.venv")
    (tmp_path / "docs/requirements.lock").symlink_to(ROOT / "docs/requirements.lock")
    built = subprocess.run(
        ["make", f"--makefile={ROOT / 'Makefile'}", "docs"], cwd=tmp_path, capture_output=True, text=True
    )
    assert built.returncode != 0
    assert [name for name in broken if name not in built.stderr] == []
