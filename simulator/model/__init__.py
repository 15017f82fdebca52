"""The simulated engine: pure, in virtual time."""
