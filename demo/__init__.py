"""The same pipeline without Docker: an embedded Postgres, and each location in its own virtual environment."""
