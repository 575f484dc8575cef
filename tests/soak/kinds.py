"""Kinds of requests: how one is made, and what its answer may be. Every good answer is its own request's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.soak.http_client import Answer

Verdict = Literal["right", "told", "refused", "failed", "left", "wrong"]
"""`told`: of a fault that was asked for; `refused`: 429 or 503 with Retry-After; `failed`: 502, 504 or an
error event, which only an engine that is away excuses; `left`: the client itself."""

Judge = Callable[[Answer, str], bool]


class BrokenStream(Exception):
    """It has come to a proper end, with an error event as its last."""


@dataclass(frozen=True)
class Kind:
    """One of the mix."""

    name: str
    weight: float
    path: str
    make: Callable[[str], Mapping[str, Any]]
    """From words that no other request has."""
    is_right: Judge
    statuses: Sequence[int] = (200,)
    """Of its proper answer; of another than 200, that is `told`."""
    timed: bool = True
    leave_after: bytes = b""
    code: bytes = b""
    """Of an error that such a request may have by its nature: it is `told` too."""

    def body(self, words: str) -> bytes:
        return json.dumps(self.make(words)).encode()

    def verdict(self, answer: Answer | None, words: str) -> Verdict:
        if answer is None:
            return "left"
        if answer.status in self.statuses:
            if answer.status != 200:
                return "told" if b'"error"' in answer.body else "wrong"
            try:
                return "right" if self.is_right(answer, words) else "wrong"
            except BrokenStream:
                return "failed"
            except (ValueError, LookupError, TypeError):
                return "wrong"
        if self.code and b'"code":"%b"' % self.code in answer.body:
            return "told"
        if answer.status in (429, 503) and b"retry-after:" in answer.head.lower():
            return "refused"
        return "failed" if answer.status in (502, 504) else "wrong"


def events(answer: Answer) -> list[dict[str, Any]]:
    """Of a whole stream. Raises BrokenStream, and ValueError where it ends without saying so."""
    lines = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
    found = [json.loads(line) for line in lines if line != b"[DONE]"]
    if any("error" in event for event in found):
        raise BrokenStream
    if not lines or lines[-1] != b"[DONE]":
        raise ValueError("it has no end")
    return found
