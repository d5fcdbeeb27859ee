"""The sensor that requests builds; when an asset is built, its own condition says (automation_conditions.py)."""

import dagster as dg

from dbt_location.settings import read_settings

_on = read_settings().taxi_automation == "on"
automatic_builds = dg.AutomationConditionSensorDefinition(
    "automatic_builds",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING if _on else dg.DefaultSensorStatus.STOPPED,
    # The interval is a part of the wait from a month's load to the build of its days. The daemon looks every five
    # seconds or a little more, so this is a tick every 10 seconds; with 10 it would often be 15.
    minimum_interval_seconds=9,
    description="Builds the days of every month that was loaded, and what is made from them.",
)
