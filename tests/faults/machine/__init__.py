"""What the machine refuses or gets wrong: its disk, its descriptors, its clock."""
