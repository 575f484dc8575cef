"""The command `lora-gateway`: each file one command, deciding nothing itself; it may import every room
below.
"""
