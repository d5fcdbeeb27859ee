"""Code location of the ingestion team: the TLC's trip files, loaded into the warehouse."""
