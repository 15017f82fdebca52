"""The simulated engine's HTTP surface: vLLM's generation routes and metrics."""
