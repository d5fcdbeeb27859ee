"""What this code location offers to Dagster: all that the files in ``defs/`` define."""

import warnings
from pathlib import Path

import dagster as dg

with warnings.catch_warnings():
    # The loader that `dg` scaffolds is in preview in the release that the lock pins; every command would say so.
    warnings.simplefilter("ignore", dg.PreviewWarning)
    _tree = dg.ComponentTree.for_project(Path(__file__).parent)
    # dg.load_from_defs_folder without the schemas of all installed components for the UI: 0.7 s of every start.
    defs: dg.Definitions = _tree.build_defs(_tree.defs_module_path)
