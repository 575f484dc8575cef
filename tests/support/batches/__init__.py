"""Batches before a fake engine, and a program of them that kills itself."""
