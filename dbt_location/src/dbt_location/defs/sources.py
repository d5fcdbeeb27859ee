"""What this location needs from outside, as external assets."""

import dagster as dg

from dbt_location.project import manifest
from dbt_location.sources import source_assets

# As Definitions: of a bare list, the loader would take each asset twice.
sources = dg.Definitions(assets=[*source_assets(manifest())])
