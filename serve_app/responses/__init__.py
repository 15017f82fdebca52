"""Responses that are kept: stored, continued, read again and deleted (docs/responses.md)."""
