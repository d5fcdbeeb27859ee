"""Code location of the analytics team: daily dbt models on the trips, and metrics on those."""
