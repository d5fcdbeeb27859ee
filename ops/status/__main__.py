"""usage: python -m ops.status [--format text|json]"""

import argparse
import sys

from ops.status import show

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make status", description="The state of the compose stack.")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    sys.exit(show(parser.parse_args().format))
