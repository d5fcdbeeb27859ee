"""What operators do from the host: deployments, status, backups, and locations that come and go."""
