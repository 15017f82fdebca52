"""Load on a real deployment, and a profile fitted to it."""
