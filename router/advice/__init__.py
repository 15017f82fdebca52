"""When a fleet should be changed: triggers over time windows, each with its remedy."""
