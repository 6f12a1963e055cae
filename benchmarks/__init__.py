"""Benchmarks, side by side with the peers; see each module."""
