"""Runs a command on the embedded Postgres, which it starts and stops: both locations find the warehouse there.

usage: python -m demo.run COMMAND [ARGUMENT …]
"""

import subprocess
import sys

from demo.postgres import running

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with running() as env:
        code = subprocess.run(sys.argv[1:], env=env).returncode
    sys.exit(code)
