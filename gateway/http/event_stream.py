"""A stream's server-sent events on their way through: whole ones go on, usage is read from its own event."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from time import perf_counter
from typing import ClassVar

import msgspec

from gateway.errors import NOT_JSON
from gateway.metrics.exposition import INTER_TOKEN_S

MAX_HELD_BYTES = 1024 * 1024
"""An event longer than this goes on in pieces, unread."""
SAME_STEP_S = 0.001
"""What follows within it is of the same step of the engine: a chat's role beside its first token, the end
beside the last."""
MAX_FAULT_BYTES = 2000
"""Of the event by which a stream was given up more is not kept."""

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\]')
"""In JSON a quote within a string is escaped, so this cannot be a model's text."""

_CHOICE = b'"choices":[{'
_NEVER = b"\0"
"""No event begins so."""
_DONE = b"[DONE]\n\n"
_ENDS = (b"\n\n", b"\r\n\r\n")
# It matches between two events and takes nothing: what is split by it and joined is what it was.
_BETWEEN = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")
_DATA = re.compile(rb"^data:(.*)$", re.M)


class TokenUsage(msgspec.Struct):
    """How many tokens the prompt and the completion of one answer have."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Counted(msgspec.Struct):
    """Of an answer, or of one event, what accounting needs."""

    usage: TokenUsage | None = None
    choices: list[msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(_Counted).decode


def usage_of(answer: bytes) -> TokenUsage | None:
    """The usage in a whole answer's JSON, or None."""
    try:
        return _decode(answer).usage
    except NOT_JSON:
        return None


def data_in(events: bytes) -> list[bytes]:
    """The data of each of whole events, as `EventStream.feed` passes them on; comments have none."""
    return [*map(bytes.strip, _DATA.findall(events))]


class EventStream:
    """One stream. `withhold_usage`: the usage event was not asked for by the client and is kept from it.

    An event by which the engine gives up, and what follows it, does not go on: its text is the engine's own.
    """

    __slots__ = (
        "_held",
        "_last_step",
        "_usual",
        "_withhold_usage",
        "broken",
        "events",
        "fault",
        "gap_sum_s",
        "gaps",
        "usage",
    )
    marker: ClassVar[bytes] = b"[]"
    """Only a piece that holds it can hold the usage: to find it is cheap, and most pieces do not."""
    failure: ClassVar[bytes] = b'data: {"error"'
    """How vLLM ends a stream that it cannot go on with; within a string the quotes would be escaped."""

    def __init__(self, withhold_usage: bool) -> None:
        self._withhold_usage = withhold_usage
        self._held = b""
        self.usage: TokenUsage | None = None
        self.broken = False
        """The engine gave up in the middle."""
        self.fault = b""
        """The beginning of the event that said so."""
        self.events = 0
        """Events that went on; with vLLM about one per token."""
        self.gaps = [0] * (len(INTER_TOKEN_S) + 1)
        """How many times between two pieces there were, by the buckets of INTER_TOKEN_S."""
        self.gap_sum_s = 0.0
        self._last_step = 0.0
        self._usual = _NEVER
        """What a token's event begins with, up to its first choice: id, time and model are a stream's own.

        A piece of such events, which nearly all are, holds neither usage nor failure, and is not searched.
        """

    def feed(self, piece: bytes) -> bytes:
        """What may go on now: the whole events there are. The rest waits for its end."""
        count, usage = 0, self.usage
        # Of nearly every piece one comparison says that it is tokens and nothing else (design 96).
        if not self._held and piece.startswith(self._usual) and piece[-2:] == b"\n\n":
            count = 1 if piece.find(b"\n") == len(piece) - 2 else self._tokens_in(piece)
        if count:
            token = True
        else:
            piece, count = self._looked_through(piece)
            if not count and self.usage is usage:
                return piece
            token = self.usage is usage and not piece.endswith(_DONE)  # neither is one
        now = perf_counter()
        gap_s = now - self._last_step
        if gap_s > SAME_STEP_S:
            if token and self.events:
                self.gaps[bisect_left(INTER_TOKEN_S, gap_s)] += 1
                self.gap_sum_s += gap_s
            self._last_step = now
        self.events += count
        return piece

    def _tokens_in(self, piece: bytes) -> int:
        """How many events these are, where each of them is a token's, on one line; else 0."""
        count = piece.count(self._usual)
        return count if 2 * count == piece.count(b"\n") else 0

    def _looked_through(self, piece: bytes) -> tuple[bytes, int]:
        """The whole events there are, without what is kept back, and how many they are."""
        if self.broken:
            return b"", 0
        if self._held:
            piece = self._held + piece
            self._held = b""
        if not piece.endswith(_ENDS):
            end = max(piece.rfind(b"\n\n") + 2, piece.rfind(b"\r\n\r\n") + 4)
            if end < 4:  # neither was found
                if len(piece) <= MAX_HELD_BYTES:
                    self._held = piece
                    return b"", 0
            else:
                piece, self._held = piece[:end], piece[end:]
        # `find`, since `in` takes its left side for a number first, which costs an exception (design 145).
        if piece.find(self.marker) >= 0:
            piece = self._read(piece)
        at = piece.find(self.failure)
        if at >= 0:
            self.broken, self.fault, self._usual = True, piece[at : at + MAX_FAULT_BYTES], _NEVER
            piece, self._held = piece[:at], b""
        elif not self.events:  # by the first alone, which has a choice already
            self._learn(piece)
        return piece, piece.count(b"\n\n") or piece.count(b"\r\n\r\n")  # in JSON both are escaped

    def _learn(self, piece: bytes) -> None:
        """How this stream's tokens begin. With one brace before it, the key is the event's own."""
        begin, choice, _ = piece.partition(_CHOICE)
        if choice and begin.startswith(b"data: {") and begin.count(b"{") == 1:
            self._usual = begin + choice

    def rest(self) -> bytes:
        """What the stream ended with, when that was no whole event."""
        held, self._held = self._held, b""
        return held

    def _read(self, piece: bytes) -> bytes:
        """Find the usage in whole events; what goes on of them."""
        if not _NO_CHOICES.search(piece):
            return piece
        kept: list[bytes] = []
        for event in _BETWEEN.split(piece):
            usage = _final_usage(event) if self.marker in event else None
            if usage is not None:
                self.usage = usage
            if usage is None or not self._withhold_usage:
                kept.append(event)
        return b"".join(kept)


class NamedEvents(EventStream):
    """A stream whose events have names; `usage_in` reads an event's data, and nothing is kept back."""

    __slots__ = ("_usage_in",)
    marker = b'"usage"'  # within a string its quotes would be escaped
    failure = b"event: error\ndata:"

    def __init__(self, usage_in: Callable[[bytes], TokenUsage | None]) -> None:
        super().__init__(False)
        self._usage_in = usage_in

    def _read(self, piece: bytes) -> bytes:
        for event in _BETWEEN.split(piece):
            data = _DATA.search(event) if event.find(self.marker) >= 0 else None
            usage = self._usage_in(data[1]) if data else None
            if usage is not None:
                self.usage = usage
        return piece


def _final_usage(event: bytes) -> TokenUsage | None:
    """The usage of an event that has no choices, which is the one that ends a stream."""
    if not event.startswith(b"data:") or not _NO_CHOICES.search(event):
        return None
    try:
        counted = _decode(event[5:].strip())
    except NOT_JSON:
        return None
    return counted.usage if counted.choices == [] else None
