"""What an engine says: kept, shown in part, and read for what it is doing and why it died."""
