"""Finished requests of tenants that let them be kept: redacted, and written by day."""
