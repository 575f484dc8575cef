"""The control plane: it owns engines and adapters."""
