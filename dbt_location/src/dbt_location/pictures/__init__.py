"""Pictures of the metrics, for an asset's page and for a report."""
