"""Makes a code location from ops/template.

usage: python -m ops.location.new NAME [TEAM]
"""

import argparse
import subprocess
import sys
from pathlib import Path

from copier import run_copy

from ops.command import ROOT
from ops.location.tree import LocationError, check_new, schema_of, with_lines

NEXT = """{name} is there: folder {name}/, schema {schema}, two example assets.

Next
  make check-location NAME={name}   format, lint, types and tests, alone, in an environment of its own lock
  make deploy LOCATION={name}       into the running stack; nothing of the others restarts
  {name}/README.md   what is in it, and the lines by which the owner of daily_metrics lets it read"""


def new_location(name: str, team: str, root: Path = ROOT) -> None:
    """Writes the location's files, and its lines in the files that all locations share.

    Args:
        name: snake_case, ending in ``_location``.
        team: GitHub team that owns it, without ``@``.
        root: the repository.

    Raises:
        LocationError: the name is not one, or it is taken.
    """
    check_new(name, root)
    # Before anything is written: it says where a shared file is not as expected.
    shared = with_lines(name, team, root)
    answers = {"name": name, "schema": schema_of(name), "team": team}
    run_copy(str(root / "ops/template"), root, data=answers, defaults=True, quiet=True)
    # Where a line is broken and what comes first among the imports depends on the name.
    for command in (("check", "--quiet", "--no-cache", "--fix", "--select", "I"), ("format", "--quiet", "--no-cache")):
        subprocess.run([Path(sys.executable).with_name("ruff"), *command, name], cwd=root, check=True)
    for path, content in shared.items():
        (root / path).write_text(content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("team", nargs="?", default="")
    given = parser.parse_args()
    try:
        new_location(given.name, given.team or f"{schema_of(given.name).replace('_', '-')}-team")
    except LocationError as error:
        sys.exit(str(error))
    print(NEXT.format(name=given.name, schema=schema_of(given.name)))
