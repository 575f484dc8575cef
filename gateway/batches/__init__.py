"""Batches: many requests in a file, run behind the clients' own, their answers in another."""
