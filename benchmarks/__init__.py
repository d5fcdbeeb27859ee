"""Measurements, compared with the limit of the machine and with other ways to do the same."""
