"""Spans of requests, for OpenTelemetry: what a request tells of itself, and the way out; it stands on
configuration and errors. Without `gateway.traces` nothing of OpenTelemetry is imported.
"""
