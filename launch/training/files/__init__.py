"""Data files as people have them: the rows that their bytes hold, and the turns of a chat that a row is."""
