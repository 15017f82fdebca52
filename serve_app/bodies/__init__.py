"""Request bodies: read in steps, within bounds, and held against tables of rules."""
