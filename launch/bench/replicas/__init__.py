"""Two real engines beside one: what they answer, an adapter replaced on both, and the simulator's twin."""
