"""Decisions about tasks of agents: how deep they go, loops, and long tool results."""
