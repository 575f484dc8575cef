"""A stack that Python starts, and the guard that ends it."""
