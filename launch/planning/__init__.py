"""What a configuration will need and whether it can work, before anything starts; it stands on base,
adapters and engine's command line.
"""
