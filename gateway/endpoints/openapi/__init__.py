"""The gateway's OpenAPI document: made of its dialects and of the shapes of its answers."""
