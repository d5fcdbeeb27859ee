"""`make dev`: serves Dagster's UI on the embedded warehouse and instance, with both locations loaded."""

import subprocess
import sys
from pathlib import Path

from embedded.postgres import ROOT, running


def main() -> int:
    """Runs `dagster dev` until it is interrupted and returns its exit code."""
    with running() as env:
        dagster = Path(sys.executable).with_name("dagster")
        command = [dagster, "dev", "--workspace", ROOT / "embedded/workspace.yaml", *sys.argv[1:]]
        process = subprocess.Popen(command, env=env)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # Ctrl-C reaches dagster too; the warehouse stays up until it has ended its runs.
                continue


if __name__ == "__main__":
    sys.exit(main())
