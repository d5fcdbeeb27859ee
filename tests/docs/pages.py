"""What the documentation tells people to type, and what it calls by name."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.command import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=")
# What ends one command of a line and begins the next.
_BETWEEN = {"&&", "||", ";", "|"}


@dataclass(frozen=True)
class Block:
    """A block of shell commands.

    Attributes:
        page: its page.
        line: number of its first line there.
        text: what is to be pasted.
    """

    page: Path
    line: int
    text: str


@dataclass(frozen=True)
class Command:
    """One command that a page tells people to type.

    Attributes:
        where: page and line.
        words: the command, without the variables that are set for it.
        variables: names of these.
        in_block: whether it is in a block of its own, not in a sentence or a table.
    """

    where: str
    words: tuple[str, ...]
    variables: tuple[str, ...]
    in_block: bool


def blocks() -> Iterator[Block]:
    """Every block of shell commands of every page."""
    for page in PAGES:
        text = page.read_text()
        for found in _BLOCK.finditer(text):
            if found[1] in {"bash", "sh", "shell", "console"}:
                yield Block(page, text[: found.start(2)].count("\n") + 1, found[2])


def spans() -> Iterator[tuple[str, str]]:
    """Everything set as code in a sentence or a table, with page and line."""
    for page in PAGES:
        text = _BLOCK.sub(lambda found: "\n" * found[0].count("\n"), page.read_text())
        for found in _SPAN.finditer(text):
            line = text[: found.start()].count("\n") + 1
            yield f"{page.relative_to(ROOT)}:{line}", " ".join(found[1].split())


def commands() -> list[Command]:
    """Every command in a block, and those of make and docker compose in sentences and tables."""
    found: list[Command] = []
    for block in blocks():
        for number, line in enumerate(block.text.splitlines(), block.line):
            found += _split(line, f"{block.page.relative_to(ROOT)}:{number}", in_block=True)
    for where, span in spans():
        if re.search(r"(^|&& |; )(make|docker compose) ", span):
            found += [
                command
                for command in _split(span, where, in_block=False)
                if command.words[0] == "make" or command.words[:2] == ("docker", "compose")
            ]
    return found


def _split(line: str, where: str, in_block: bool) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in _BETWEEN:
            words.append(word)
            continue
        variables = []
        while words and (assigned := _ASSIGNMENT.match(words[0])):
            variables.append(assigned[1])
            words.pop(0)
        if words:
            variables += [given[1] for given in map(_ASSIGNMENT.match, words[1:]) if given]
            kept = tuple(one for one in words if not _ASSIGNMENT.match(one))
            yield Command(where, kept, tuple(variables), in_block)
        words = []
