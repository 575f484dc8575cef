"""What keeps tenants apart who share an engine."""
