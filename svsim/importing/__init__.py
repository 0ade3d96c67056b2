"""Acceptance that engines and benchmarks recorded, read into traces."""
