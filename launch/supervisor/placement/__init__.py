"""Which engines each adapter is on: what is asked for, what `gateway.placement` plans, and the moves."""
