"""The tokens of a text, and vectors of texts: answers without a word of the model's."""
