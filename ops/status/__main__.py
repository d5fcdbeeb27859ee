"""`make status`: shows the state of the stack and ends with 1 where something in it needs a person.

usage: python -m ops.status [--format text|json]
"""

import argparse
import os
import sys

from ops.status.as_json import as_json
from ops.status.collect import collect
from ops.status.judge import judge
from ops.status.render import Text

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make status", description="The state of the compose stack.")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    asked = parser.parse_args()
    facts = collect()
    judgement = judge(facts)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(as_json(facts, judgement) if asked.format == "json" else Text(facts, judgement, colour).screen())
    sys.exit(1 if judgement.problems else 0)
