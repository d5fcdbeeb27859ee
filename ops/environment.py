"""The environment of programs that run on this machine without a container."""

import os

# Variables that configure other work: another server, dbt project, Dagster instance, locale or Python. A list of
# variables to keep would drop what the machine needs to run programs, such as proxies, certificates and library paths.
# Of the settings in the README only REPORTS_URL, which the stack uses, has one of these prefixes.
FOREIGN = ("PG", "DBT_", "DAGSTER_", "WAREHOUSE_", "REPORTS_", "PYTHON", "LC_", "LANG", "TZ", "MPL", "MATPLOTLIB")


def own_environment() -> dict[str, str]:
    """This process's environment without variables that configure other work."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"PYTHONUTF8": "1"}
