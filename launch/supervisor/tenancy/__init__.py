"""Who may call and change what: keys that commands make, and what a tenant's operators may have."""
