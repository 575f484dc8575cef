"""What tells the engine's APIs apart."""
