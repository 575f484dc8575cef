"""TLS: certificates that change while it serves."""
