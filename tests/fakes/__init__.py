"""What stands in for engines, control planes, hubs and clocks in unit tests; each offers hooks, and none
sleeps.
"""
