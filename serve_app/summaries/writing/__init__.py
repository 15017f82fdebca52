"""Summaries asked of a lane: what is asked, and on whose account."""
