"""Training an adapter, and measuring it through the served system."""
