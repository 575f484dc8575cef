"""Who has used how much: all workers' counts in one SQLite file, and what is asked of it; it
stands on metrics, configuration and sqlite.
"""
