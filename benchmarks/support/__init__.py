"""Deployments, loads and reports of the benchmarks."""
