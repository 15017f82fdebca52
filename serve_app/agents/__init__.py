"""Tool calls that validate, and tasks that stay bounded (docs/agents.md)."""
