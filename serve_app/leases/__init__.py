"""Leases of limits: asked for in the ingress, granted on the head node."""
