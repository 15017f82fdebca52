"""Which lane a request goes to."""
