"""Measurements: beside the limit of the machine, and beside other ways to do the same."""
