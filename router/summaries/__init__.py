"""Summaries of long tool results and of old turns: what they are known by, how many are kept."""
