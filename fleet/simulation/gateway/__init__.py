"""The ingress replicas of a simulated fleet: the decisions of `router/`, in virtual time."""
