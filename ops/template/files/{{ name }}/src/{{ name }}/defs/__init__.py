"""The definitions, a file per subject; Dagster loads every module here."""
