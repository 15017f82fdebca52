"""An HTTP server, an HTTP client and calls of Serve."""
