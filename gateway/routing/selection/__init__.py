"""Which of several engines: what is at each, how quick it is, and whom `gateway.placement.choice` takes."""
