"""Engines and workloads without a clock."""
