"""What is wanted, and its API: engines, adapters and configuration brought to one desired state, published
as snapshots; it stands on engine and adapters.
"""
