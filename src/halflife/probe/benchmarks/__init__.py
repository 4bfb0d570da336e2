"""Benchmarks of long-term memory: loaders, metrics, baselines, and one runner for all of them."""
