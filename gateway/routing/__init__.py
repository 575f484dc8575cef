"""From a model's name to an adapter on an engine: the table, the replicas, what follows the control plane,
and the wait for a cold start; it stands on admission, http and config.
"""
