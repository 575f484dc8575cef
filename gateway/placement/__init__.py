"""Where each adapter is at home, and where a request for one goes: decisions alone, without clock or I/O.

The control plane carries plans out, the gateway routes, and the simulator tries both, by this one code. It
imports nothing of ours.
"""
