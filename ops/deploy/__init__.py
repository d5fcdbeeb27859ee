"""The deploy of one location: its new image verified, its code server alone replaced, and put back where that fails."""
