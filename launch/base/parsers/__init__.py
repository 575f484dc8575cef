"""Which of vLLM's parsers a base's calls of tools and its thinking need, found out from its family and its
chat template.
"""
