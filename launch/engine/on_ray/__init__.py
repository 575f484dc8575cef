"""An engine on a node of a Ray cluster: what runs there in an actor, and how the control plane reaches it.

Ray is imported in `cluster` alone, within functions: without `backend: ray` nothing of it is loaded.
"""
