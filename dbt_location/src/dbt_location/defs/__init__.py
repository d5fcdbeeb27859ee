"""What this location offers to Dagster: every definition in a file below this folder is loaded."""
