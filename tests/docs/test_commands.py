"""Every command, path, link and test that the documentation names exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops.command import ROOT
from tests.docs.pages import PAGES, shell_blocks, spans, tracked_files

CODE = [*shell_blocks(), *spans()]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = {name for names in re.findall(r"^([a-z][a-z -]*):(?!=)", MAKEFILE, re.MULTILINE) for name in names.split()}


def named(pattern: str) -> list[tuple[str, str]]:
    """What a pattern finds in the documentation's code, with the page; there must be something."""
    found = sorted({(page, name) for page, text in CODE for name in re.findall(pattern, text, re.MULTILINE)})
    assert found
    return found


def test_every_documented_target_of_make_exists() -> None:
    assert [each for each in named(r"(?:^|[;&] *)make ([a-z][a-z-]*)") if each[1] not in TARGETS] == []


def test_every_documented_variable_of_make_exists() -> None:
    known = MAKEFILE + (ROOT / ".env.example").read_text()
    variables = named(r"(?:^|[;&] *)make [^\n;&]*?\b([A-Z][A-Z_]*)=")
    assert [
        each
        for each in variables
        if not re.search(rf"(\$\(?|call given,){each[1]}\b|^#?{each[1]}=", known, re.MULTILINE)
    ] == []


def test_make_help_lists_targets() -> None:
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "demo" in (listed := {line.split()[0] for line in helped.splitlines()})
    assert listed <= TARGETS


@pytest.mark.parametrize(
    "command", sorted({name for _, text in CODE for name in re.findall(r"-m (ops[\w. -]*)", text)})
)
def test_a_documented_command_of_the_operators_tool_exists(command: str) -> None:
    words = [word for word in command.split() if not word.startswith("-")]
    helped = subprocess.run([sys.executable, "-m", *words, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert helped.returncode == 0, helped.stderr


@pytest.mark.parametrize(("page", "block"), list(shell_blocks()))
def test_a_block_can_be_pasted_into_a_shell(page: str, block: str) -> None:
    parsed = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
    assert parsed.stderr == "", page


def test_every_relative_link_leads_to_a_file() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    assert links
    relative = [(page, link) for page, link in links if not re.match(r"[a-z]+:", link)]
    assert [(page.name, link) for page, link in relative if not (page.parent / link).exists()] == []


def test_every_page_that_a_file_of_the_project_names_exists() -> None:
    texts = {file: (ROOT / file).read_text(errors="ignore") for file in tracked_files() if not file.endswith(".lock")}
    pages = [(file, page) for file, text in texts.items() for page in re.findall(r"\bdocs/[a-z-]+\.md", text)]
    assert pages
    assert [(file, page) for file, page in pages if not (ROOT / page).exists()] == []


def test_every_test_that_a_page_names_exists() -> None:
    sources = "\n".join((ROOT / file).read_text() for file in tracked_files() if Path(file).name.startswith("test_"))
    assert [each for each in named(r"^(test_[a-z0-9_]+)$") if f"def {each[1]}(" not in sources] == []


def test_every_path_that_a_page_names_exists() -> None:
    top = {file.partition("/")[0] for file in tracked_files() if "/" in file}
    paths = [(page, path) for page, path in named(r"^([\w.-]+/[\w./-]*)$") if path.partition("/")[0] in top]
    # weather_location is the example of a location that is made.
    missing = [each for each in paths if not (ROOT / each[1]).exists() and "weather_location" not in each[1]]
    # Files that git ignores are created by a command.
    assert [
        each for each in missing if subprocess.run(["git", "check-ignore", "-q", each[1]], cwd=ROOT).returncode
    ] == []
