"""`lora-gateway adapters …` and `tasks …`: what is wanted of tasks and their versions, shown and changed."""
