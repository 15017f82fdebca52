"""Lane replicas whose engine sleeps and wakes (docs/swap.md)."""
