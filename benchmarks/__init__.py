"""Benchmarks that need no GPU. Each writes benchmarks/results/NAME.{json,md,png}."""
