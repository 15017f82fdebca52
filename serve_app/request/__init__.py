"""What a request is, while it runs."""
