"""Benchmarks: what the gateway adds, how it scales, and what the engine behind it makes of that."""
