"""What the gateway adds to a request beside nginx and its peers."""
