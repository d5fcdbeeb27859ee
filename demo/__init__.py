"""The same pipeline without Docker: an embedded Postgres, and both locations in virtual environments of their own."""
