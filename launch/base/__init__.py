"""The base model: where it lies, its dimensions, the memory it takes and the shapes that LoRA has on it;
it stands on the machine.
"""
