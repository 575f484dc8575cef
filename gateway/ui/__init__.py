"""The page at `/ui/`: its files, who is signed in, what it shows; it stands on endpoints and adds no rule."""
