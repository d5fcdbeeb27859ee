"""The output that docs/status.md shows."""

import re
import time
from collections.abc import Iterator

import pytest

from ops.command import ROOT
from ops.status.facts import Facts
from ops.status.judge import judge
from ops.status.render import screen
from tests.ops import stack_facts

EXAMPLES = {name: facts for name, facts in vars(stack_facts).items() if name.startswith("EXAMPLE_")}


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time is UTC."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize("facts", EXAMPLES.values(), ids=EXAMPLES)
def test_the_page_shows_what_the_command_prints(facts: Facts) -> None:
    printed = screen(facts, judge(facts))
    assert f"```text\n{printed}\n```\n" in (ROOT / "docs" / "status.md").read_text()


def test_the_page_shows_no_other_output() -> None:
    page = (ROOT / "docs" / "status.md").read_text()
    assert len(re.findall("^```text$", page, re.MULTILINE)) == len(EXAMPLES)
