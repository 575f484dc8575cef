"""Secrets that stand in the state directory, and who asks for which."""
