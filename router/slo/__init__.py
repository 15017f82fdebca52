"""Service level objectives: which requests kept them, and how fast the error budget is spent."""
