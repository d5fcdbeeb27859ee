"""Consistent backups of the running stack, and their restore."""
