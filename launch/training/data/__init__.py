"""The training data of the demo's four adapters, made from WordNet."""
