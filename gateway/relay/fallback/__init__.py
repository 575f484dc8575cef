"""Another model answers for a task that the engine cannot answer now, where the configuration says so."""
