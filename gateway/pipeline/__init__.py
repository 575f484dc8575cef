"""Pipelines: stages behind one model name, declared in the configuration."""
