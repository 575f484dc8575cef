"""Where adapters are, and where a request for one goes: decisions alone, without clock or I/O.

It imports errors alone; gateway, control plane and simulator decide by it alike.
"""
