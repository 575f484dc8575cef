"""Sections of the configuration that stand by themselves."""
