"""Who waits for a place, and who goes next: by task, by key, and by LoRA slot where there are too few.

It stands on errors alone, and offers an order; how many may go is not decided here.
"""
