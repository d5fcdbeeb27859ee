"""Code location of the analytics team: daily dbt models on the trips, and metrics on those."""

import warnings

from dagster import BetaWarning

# BackfillPolicy is in beta in the release that the lock pins; without this every command would say so.
warnings.filterwarnings("ignore", category=BetaWarning, message=".*backfill_policy.*")
