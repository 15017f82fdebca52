"""How many replicas a lane should have."""
