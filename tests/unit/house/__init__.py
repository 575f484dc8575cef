"""What holds for the tree as a whole: the order of rooms, and their size."""
