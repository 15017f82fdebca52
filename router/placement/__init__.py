"""Which replica of a lane."""
