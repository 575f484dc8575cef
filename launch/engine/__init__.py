"""One engine's life: vLLM's command line, its states and failures, the adapters loaded on it and the
canary that proves them; it stands on adapters, base and machine.
"""
