"""What a list of a stage's answer is held to beyond its schema: each term once, no two names alike. Pure."""
