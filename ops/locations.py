"""Which code locations there are: a folder with a pyproject.toml, a Dockerfile and a compose.yaml."""

from ops.command import ROOT

LOCATIONS = tuple(sorted(path.parent.name for path in ROOT.glob("*_location/pyproject.toml")))
# Those with data: they have a role in the warehouse and run without Docker, too.
DATA_LOCATIONS = tuple(name for name in LOCATIONS if (ROOT / name / "warehouse.sql").exists())
