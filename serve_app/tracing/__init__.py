"""Spans of what is served, and their way to a collector (docs/tracing.md)."""
