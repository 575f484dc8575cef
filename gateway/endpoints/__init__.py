"""What the gateway answers, one module per family of routes."""
