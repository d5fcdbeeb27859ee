"""What a Prometheus scrapes (docs/monitoring.md). The service `alerts` writes it to a file after each evaluation."""
