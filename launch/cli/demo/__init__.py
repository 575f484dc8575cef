"""`lora-gateway demo`: the sample clusters, their naming, and how well it went."""
