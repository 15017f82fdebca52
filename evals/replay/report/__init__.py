"""The page of a replay: one HTML file that needs nothing beside it."""
