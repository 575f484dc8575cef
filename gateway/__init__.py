"""The data plane: one OpenAI-compatible endpoint for many LoRA adapters and for pipelines made of them."""
