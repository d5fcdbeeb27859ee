"""Metrics made in Python: a table, pictures and pages."""
