"""Copies of clients' requests to another version, and how the answers differ; no client waits for one."""
