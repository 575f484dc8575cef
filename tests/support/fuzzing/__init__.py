"""Mutated input, what it is fed to, and what must hold whatever comes."""
