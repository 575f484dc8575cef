"""Real programs that tests start: the whole stack with its engine, and a Redis."""
