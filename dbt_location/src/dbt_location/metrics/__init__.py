"""Assets that turn the marts into numbers and pictures; each names the dbt models that it reads by asset key alone."""
