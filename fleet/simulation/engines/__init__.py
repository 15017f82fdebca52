"""The lanes of a simulated fleet: replicas that serve, start, drain and are lost."""
