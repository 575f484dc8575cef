"""A stream's server-sent events on their way through: whole ones go on, usage is read from its own event."""

from __future__ import annotations

import re

import msgspec

MAX_HELD_BYTES = 1024 * 1024
"""An event longer than this goes on in pieces, unread."""

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\]')
"""In JSON a quote within a string is escaped, so this cannot be a model's text."""

_ENDS = (b"\n\n", b"\r\n\r\n")


class Usage(msgspec.Struct):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Counted(msgspec.Struct):
    """Of an answer, or of one event, what accounting needs."""

    usage: Usage | None = None
    choices: list[msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(_Counted).decode


def usage_of(answer: bytes) -> Usage | None:
    """The usage in a whole answer's JSON, or None."""
    try:
        return _decode(answer).usage
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class EventStream:
    """One stream. `withhold_usage`: the usage event was not asked for by the client and is kept from it."""

    __slots__ = ("_held", "_withhold_usage", "events", "usage")

    def __init__(self, withhold_usage: bool) -> None:
        self._withhold_usage = withhold_usage
        self._held = b""
        self.usage: Usage | None = None
        self.events = 0
        """Events that went on; with vLLM about one per token."""

    def feed(self, piece: bytes) -> bytes:
        """What may go on now: the whole events there are. The rest waits for its end."""
        if self._held:
            piece = self._held + piece
            self._held = b""
        if not piece.endswith(_ENDS):
            end = max(piece.rfind(b"\n\n") + 2, piece.rfind(b"\r\n\r\n") + 4)
            if end < 4:  # neither was found
                if len(piece) <= MAX_HELD_BYTES:
                    self._held = piece
                    return b""
            else:
                piece, self._held = piece[:end], piece[end:]
        if piece.find(b"[]") >= 0 and _NO_CHOICES.search(piece):  # find is cheaper, and most often enough
            piece = self._without_usage(piece)
        self.events += piece.count(b"\n\n") or piece.count(b"\r\n\r\n")  # in JSON both are escaped
        return piece

    def rest(self) -> bytes:
        """What the stream ended with, when that was no whole event."""
        held, self._held = self._held, b""
        return held

    def _without_usage(self, piece: bytes) -> bytes:
        kept: list[bytes] = []
        for event in re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", piece):
            usage = _final_usage(event)
            if usage is not None:
                self.usage = usage
            if usage is None or not self._withhold_usage:
                kept.append(event)
        return b"".join(kept)


def _final_usage(event: bytes) -> Usage | None:
    """The usage of an event that has no choices, which is the one that ends a stream."""
    if not event.startswith(b"data:") or not _NO_CHOICES.search(event):
        return None
    try:
        counted = _decode(event[5:].strip())
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return counted.usage if counted.choices == [] else None
