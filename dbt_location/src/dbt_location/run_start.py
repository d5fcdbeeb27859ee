"""The entrypoint of the image: it runs a command, and beside a run of Dagster it loads dbt.

usage: python -m dbt_location.run_start COMMAND [ARGUMENT...]
"""

import os
import sys
from importlib.metadata import entry_points

from dbt_location import ready_dbt

RUN = ["dagster", "api", "execute_run"]

if __name__ == "__main__":
    command = sys.argv[1:]
    if command[: len(RUN)] != RUN:
        os.execvp(command[0], command)
    ready_dbt.collect_less()
    ready_dbt.start()
    # In this process, because dbt is its child.
    sys.argv = command
    (dagster,) = entry_points(group="console_scripts", name="dagster")
    sys.exit(dagster.load()())
