"""The platform team's code location: the instance's housekeeping, as ordinary Dagster definitions."""
