"""A pipeline against the same calls made by hand."""
