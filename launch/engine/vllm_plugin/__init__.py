"""What runs inside vLLM's own processes: the plugin and the LoRA kernels for a CPU."""
