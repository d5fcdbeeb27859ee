"""The command `status`. Apart from the package, which the image of the alerts has without the other commands."""

import os
import sys
from typing import Annotated, Literal

from typer import Exit, Option

from ops import kubernetes
from ops.deploy.engine import Engine, On
from ops.status.as_json import as_json
from ops.status.collect import collect
from ops.status.judge import judge
from ops.status.render import screen


def status(
    format: Annotated[Literal["text", "json"], Option(help="For people, or for programs.")] = "text",
    on: On = Engine.COMPOSE,
) -> None:
    """Show the state of the stack; exit with 1 if anything in it needs a person."""
    if on is Engine.KUBERNETES:
        kubernetes.status()
        return
    facts = collect()
    judgement = judge(facts)
    if format == "json":
        print(as_json(facts, judgement))
    else:
        print(screen(facts, judgement, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
    if judgement.problems:
        raise Exit(1)
