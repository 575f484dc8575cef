"""Results as tables, pictures and comparisons between two runs."""
