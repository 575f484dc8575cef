"""Bringing an adapter here: an archive, a hub, an object store, a transfer that is counted byte by byte."""
