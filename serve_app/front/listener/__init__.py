"""The ingress's own place on the frontend's port (docs/adr/0022-own-listener.md)."""
