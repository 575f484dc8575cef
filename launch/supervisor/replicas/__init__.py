"""Several engines of one launch: how each is laid out, and how many of them there are to be."""
