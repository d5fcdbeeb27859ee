"""The definitions of this code location: all that the modules below defs/ define."""

from pathlib import Path

import dagster as dg

defs = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
