"""Subcommands of `pointsman`."""
