"""What a base is made of: its matrices, layers and key-value cache, counted from its configuration."""
