"""Autoscaling of lanes: what the policy is told, where it runs, what it decided."""
