"""The engine measured behind the gateway and without it."""
