"""Benchmarks: this package, its peers, and the floors below both, side by side in one run."""
