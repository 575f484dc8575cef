"""How the processes of an engine begin and end: from one import, and with the one that made them."""
