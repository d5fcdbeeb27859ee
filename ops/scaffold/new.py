"""Makes a code location from ops/template."""

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument

from ops.command import ROOT, run
from ops.locations import NameArgument
from ops.scaffold.tree import check_new, schema_of, with_lines

NEXT = """Created {name}: folder {name}/, schema {schema}, two example assets.

Next
  make check-location NAME={name}   format, lint, types and tests, on its own, in an environment from its own lock
  make deploy LOCATION={name}       into the running stack; no other location restarts
  {name}/README.md   what is in it, and the grants that the owner of daily_metrics must add"""


def new_location(
    name: NameArgument, team: Annotated[str, Argument(metavar="TEAM", help="GitHub team that owns it, without @.")] = ""
) -> None:
    """Make a code location from the template."""
    make_files(name, team)
    print(NEXT.format(name=name, schema=schema_of(name)))


def make_files(name: str, team: str = "", root: Path = ROOT) -> None:
    check_new(name, root)
    team = team or f"{schema_of(name).replace('_', '-')}-team"
    # Computed before anything is written, since it fails if a shared file is not as expected.
    shared = with_lines(name, team, root)
    from copier import run_copy  # slow; the other commands need not wait for it

    answers = {"name": name, "schema": schema_of(name), "team": team}
    run_copy(str(root / "ops/template"), root, data=answers, defaults=True, quiet=True)
    # The line breaks and the order of imports depend on the name.
    ruff = str(Path(sys.executable).with_name("ruff"))
    run(ruff, "check", "--quiet", "--no-cache", "--fix", "--select", "I", str(root / name))
    run(ruff, "format", "--quiet", "--no-cache", str(root / name))
    for path, content in shared.items():
        (root / path).write_text(content)
