"""More models than cards: who is awake, and requests that wait for that (docs/swap.md)."""
