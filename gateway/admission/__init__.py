"""Who comes in: whose key it is, how many requests at a time, and whose turn a LoRA slot is; it imports
configuration, metrics and errors, and offers a place or an error.
"""
