"""What a client's schema, pattern or grammar costs an engine: tried in a process of its own before."""
