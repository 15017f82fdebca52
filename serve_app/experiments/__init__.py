"""Experiments of the fleet file in one ingress replica: arms, shadows, guard rails."""
