"""What one code location needs from another, and whether it gets it."""
