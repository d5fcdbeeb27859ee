""".env.example, the compose files and the documentation agree on the settings and their defaults."""

import re

import pytest

from ops.command import ROOT
from ops.settings import EXAMPLE, compose_files, variables
from tests.docs.pages import PAGES, spans, tracked_files

COMPOSE = "\n".join(path.read_text() for path in compose_files())
# Settings of other programs.
NOT_OURS = {"RELOAD_WORKSPACE_INTERVAL"}


# The defaults of those that compose passes on to a build are in the Dockerfiles.
DOCKERFILES = "\n".join((ROOT / file).read_text() for file in tracked_files() if file.endswith("/Dockerfile"))


def defaults(name: str) -> set[str]:
    """The defaults of a variable in compose files and Dockerfiles; more than one if the files disagree."""
    found = set(re.findall(rf"^ARG {name}=(.*)$", DOCKERFILES, re.MULTILINE))
    for match in re.finditer(rf"\$\{{{name}:?-", COMPOSE):
        depth, end = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(COMPOSE[end], 0)
            end += 1
        default = COMPOSE[match.end() : end - 1]
        # From the inside to the outside.
        while default != (shorter := re.sub(r"\$\{[A-Z0-9_]+:?-([^${}]*)\}", r"\1", default)):
            default = shorter
        found.add(default)
    return found


@pytest.mark.parametrize("name", sorted(variables()))
def test_a_variable_that_compose_reads_is_in_the_example(name: str) -> None:
    assert name in EXAMPLE


@pytest.mark.parametrize("name", EXAMPLE)
def test_a_setting_of_the_example_is_read_and_shown_with_its_default(name: str) -> None:
    assert name in variables()
    assert defaults(name) <= {EXAMPLE[name]}


def test_every_setting_that_a_page_names_is_read_by_something() -> None:
    sources = [file for file in tracked_files() if not file.endswith((".md", ".lock", ".svg"))]
    text = "\n".join((ROOT / file).read_text(errors="ignore") for file in sources)
    named = {
        (found[1], where) for where, span in spans() if (found := re.match(r"([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b", span))
    }
    assert named
    assert [one for one in sorted(named) if one[0] not in NOT_OURS and not re.search(rf"\b{one[0]}\b", text)] == []


def test_a_default_in_a_table_is_the_one_that_compose_has() -> None:
    row = re.compile(r"^\| `([A-Z][A-Z0-9_]*)` \| `([^`]*)` \|", re.MULTILINE)
    rows = [(page.name, name, default) for page in PAGES for name, default in row.findall(page.read_text())]
    assert rows
    assert [one for one in rows if one[1] in variables() and defaults(one[1]) != {one[2]}] == []
