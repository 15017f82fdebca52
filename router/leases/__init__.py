"""Limits of a deployment, leased to its ingress replicas."""
