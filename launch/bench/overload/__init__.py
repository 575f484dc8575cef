"""More requests than an engine can answer: what is still answered in time, and whose."""
