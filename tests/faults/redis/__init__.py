"""Several gateways that agree through one Redis, which is frozen, killed, emptied or cut off."""
