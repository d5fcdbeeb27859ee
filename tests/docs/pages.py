"""What the documentation shows as code."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ops.command import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "kubernetes/README.md"])
_BLOCK = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def shell_blocks() -> Iterator[tuple[str, str]]:
    """Each page's blocks of shell commands, with the page's path."""
    for page in PAGES:
        for language, text in _BLOCK.findall(page.read_text()):
            if language in {"bash", "sh", "shell", "console"}:
                yield f"{page.relative_to(ROOT)}", text


def section_blocks(page: Path, heading: str) -> list[str]:
    """The blocks of any language in a page's section, given its heading."""
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for _, text in _BLOCK.findall(section)]


def spans() -> Iterator[tuple[str, str]]:
    """Each page's words in code font, outside of blocks, with the page's path."""
    for page in PAGES:
        for span in re.findall(r"`([^`]+)`", _BLOCK.sub("", page.read_text())):
            yield f"{page.relative_to(ROOT)}", " ".join(span.split())


def tracked_files() -> list[str]:
    """The repository's files, including those that are not committed yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [file for file in listed if (ROOT / file).is_file()]
