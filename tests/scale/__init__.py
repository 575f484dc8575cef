"""The whole on several nodes of a Ray cluster on this machine, killed under load (`make test-scale`).

Like `tests/faults`, each test notes what was promised and seen, and the run prints the table.
"""
