"""Makes, checks and removes code locations."""
