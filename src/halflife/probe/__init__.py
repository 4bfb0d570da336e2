"""Measuring memory: probes, and the benchmarks of the field."""
