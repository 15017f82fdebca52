"""Bytes from an engine to a client, and what becomes of a fault on the way."""
