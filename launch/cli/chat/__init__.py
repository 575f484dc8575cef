"""`lora-gateway chat`: a talk with a task in the terminal."""
