"""What was measured on real engines, played again: an engine's figures from it, and simulated beside seen."""
