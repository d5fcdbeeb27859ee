"""The state of the compose stack on one screen, and whether anything in it needs a person.

``collect`` asks the sources, each on its own, since any of them may be down. ``judge`` and the modules that it uses are
pure functions of these facts. ``render`` and ``as_json`` print both.
"""

import os
import sys

from ops.status.as_json import as_json
from ops.status.collect import collect
from ops.status.judge import judge
from ops.status.render import screen


def show(format: str = "text") -> int:
    """Prints the state of the stack as ``text`` or ``json``; returns 0 where nothing needs a person, otherwise 1."""
    facts = collect()
    judgement = judge(facts)
    if format == "json":
        print(as_json(facts, judgement))
    else:
        print(screen(facts, judgement, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
    return 1 if judgement.problems else 0
