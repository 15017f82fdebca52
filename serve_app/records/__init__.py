"""What is kept of requests that ended."""
