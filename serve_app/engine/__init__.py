"""The replica's side: an engine, its endpoint and what it reports."""
