"""Bringing an adapter here: an archive, a hub, an object store, a transfer that is counted byte by byte."""

SOURCES = "a folder, a .tar or .zip of one, hf://org/name or s3://bucket/folder"
"""All that `fetch` knows, as errors and commands say it."""
