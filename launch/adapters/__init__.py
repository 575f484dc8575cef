"""Adapters before they are served: where they come from, how they are checked and kept, and the versions
that are wanted; it stands on the base.
"""
