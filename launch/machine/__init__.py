"""The machine as programs see it: children and their groups, ports, memory, signals, threads, hardware and
the back-off of restarts; it imports the standard library and errors alone.
"""
