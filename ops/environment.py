"""The environment of programs that run on this machine without a container."""

import os

# Variables by which the shell's owner sets up other work: another server, dbt project or Dagster instance, a locale or
# a Python that is not the project's. A list of what to keep instead would also drop what the machine needs to run
# programs at all, such as proxies, certificates and library paths. No setting in the README has one of these prefixes,
# except for REPORTS_URL, which is the stack's.
FOREIGN = ("PG", "DBT_", "DAGSTER_", "WAREHOUSE_", "REPORTS_", "PYTHON", "LC_", "LANG", "TZ", "MPL", "MATPLOTLIB")


def own_environment() -> dict[str, str]:
    """This process's environment without what belongs to other work."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"PYTHONUTF8": "1"}
