"""What may be set and what is in force: the configuration's document, the snapshot that the control plane
sends, and who holds a state directory; it imports errors alone.
"""
