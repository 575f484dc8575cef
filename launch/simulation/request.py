"""A request on its way through the simulation."""

from __future__ import annotations


class Request:
    """Times are seconds from the start; `first_s` and `end_s` are set when they are."""

    __slots__ = ("adapter", "at_s", "end_s", "engine", "first_s", "output_tokens", "prompt_tokens", "work")

    def __init__(self, at_s: float, adapter: str, prompt_tokens: int, output_tokens: int) -> None:
        self.at_s = at_s
        self.adapter = adapter
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.engine = -1
        """The number of the one that it was sent to."""
        self.work = 0.0
        """Of the engine that it went to, in tokens."""
        self.first_s = -1.0
        self.end_s = -1.0
