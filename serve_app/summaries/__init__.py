"""Summaries that a lane writes in the place of long tool results and of old turns."""
