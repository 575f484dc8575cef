"""`lora-gateway run`: a file of inputs through a task or a pipeline, resumable."""
