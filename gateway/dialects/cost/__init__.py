"""What one request may cost the engine: how long its lists may be, and how many sequences it counts as."""
