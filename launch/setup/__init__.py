"""Building the environments, and the page of the configuration; it runs on a bare Python before anything
is installed, and imports the machine alone.
"""
