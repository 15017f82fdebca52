"""What another threshold, budget or classifier would have brought, from logs of explored requests."""
