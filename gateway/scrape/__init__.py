"""One scrape shows all: what the gateway counted, how its engines stand, and what they say of themselves; it
stands on metrics, configuration and routing.
"""
