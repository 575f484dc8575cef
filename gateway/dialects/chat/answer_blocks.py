"""An answer as texts and calls of tools, one after the other: Anthropic's form, and a response's. Pure."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer import (
    CallPiece,
    calls_in,
    choice_of,
    detail_of,
    finish_of,
    said_in,
    usage_of,
    word_of,
)
from gateway.dialects.chat.from_chat import Rendering
from gateway.errors import ProviderFailed
from gateway.http.event_stream import TokenUsage

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Block:
    """One text, or one call with its arguments as text."""

    index: int
    """Its place in the answer."""
    kind: Literal["text", "refusal", "call"]
    call: CallPiece | None = None
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)


@dataclass(slots=True)
class Counted:
    """An answer's tokens; `cached` is part of the prompt's, `reasoning` of the answer's."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    stages: JsonValue = None
    """What each stage of a pipeline took; None of an answer that has none."""

    @property
    def by_stage(self) -> JsonObject:
        """What a pipeline adds to a usage."""
        return {} if self.stages is None else {"stages": self.stages}


class BlockRendering(Rendering):
    """What a chat says, cut into blocks; how they are written is the API's own."""

    def __init__(self, request_id: str, asked: JsonObject, usage_wanted: bool) -> None:
        super().__init__(request_id, asked, usage_wanted)
        self.model = ""
        self.created = 0
        """Unix seconds."""
        self.blocks: list[Block] = []
        self.finish_reason: str | None = None
        self.counted = Counted()
        self._begun = False

    def whole(self, document: JsonObject) -> JsonObject:
        self._read(document)
        said = said_in(choice_of(document))
        for kind in ("refusal", "content"):
            if word_of(said, kind):
                self._new("text" if kind == "content" else "refusal").parts.append(word_of(said, kind))
        for call in calls_in(said):
            self._new("call", call).parts.append(call.arguments)
        return self.answer()

    def piece(self, chunk: JsonObject) -> bytes:
        events: list[JsonObject] = []
        self._read(chunk)
        if not self._begun:
            self._begun = True
            events += self.first()
        said = said_in(choice_of(chunk))
        if text := word_of(said, "content"):
            block = self.blocks[-1] if self.blocks and self.blocks[-1].kind == "text" else None
            if block is None:
                block = self._next(events, "text")
            events += self._grown(block, text)
        for call in calls_in(said):
            events += self._grown(self._block_of(call, events), call.arguments)
        return b"".join(named(event) for event in events)

    def end(self) -> bytes:
        events = self.closed(self.blocks[-1]) if self.blocks else []
        return b"".join(named(event) for event in [*events, *self.last()])

    @abstractmethod
    def answer(self) -> JsonObject:
        """The whole answer, of `blocks`."""

    @abstractmethod
    def first(self) -> list[JsonObject]:
        """The events before the first block."""

    @abstractmethod
    def opened(self, block: Block) -> list[JsonObject]: ...

    @abstractmethod
    def grown(self, block: Block, text: str) -> list[JsonObject]: ...

    @abstractmethod
    def closed(self, block: Block) -> list[JsonObject]: ...

    @abstractmethod
    def last(self) -> list[JsonObject]:
        """The events after the last block."""

    def _read(self, document: JsonObject) -> None:
        """What stands around the choices; in a stream most of it comes late."""
        self.model = word_of(document, "model") or self.model
        created = document.get("created")
        self.created = created if isinstance(created, int) else self.created
        self.finish_reason = finish_of(choice_of(document)) or self.finish_reason
        usage, held = usage_of(document) or TokenUsage(), document.get("usage")
        stages = held.get("stages") if isinstance(held, dict) else None
        # A chunk without a usage, or with one of zeros, takes back nothing that was told before.
        if usage.prompt_tokens or usage.completion_tokens or stages:
            cached = detail_of(document, "prompt_tokens_details", "cached_tokens")
            reasoning = detail_of(document, "completion_tokens_details", "reasoning_tokens")
            self.counted = Counted(
                usage.prompt_tokens, usage.completion_tokens or 0, cached, reasoning, stages
            )

    def _new(self, kind: Literal["text", "refusal", "call"], call: CallPiece | None = None) -> Block:
        index = len(self.blocks)
        # Clients send a call's result back under its id.
        if call is not None and not call.id:
            call = CallPiece(call.index, f"call_{self.request_id}_{index}", call.name, "")
        block = Block(index, kind, call)
        self.blocks.append(block)
        return block

    def _next(
        self, events: list[JsonObject], kind: Literal["text", "call"], call: CallPiece | None = None
    ) -> Block:
        if self.blocks:
            events += self.closed(self.blocks[-1])
        block = self._new(kind, call)
        events += self.opened(block)
        return block

    def _grown(self, block: Block, text: str) -> list[JsonObject]:
        if not text:
            return []
        block.parts.append(text)
        return self.grown(block, text)

    def _block_of(self, piece: CallPiece, events: list[JsonObject]) -> Block:
        """The call that a piece belongs to; only the last one can still grow. Raises ProviderFailed."""
        for block in reversed(self.blocks):  # ids tell calls apart where all have one index
            call = block.call
            if call is not None and call.index == piece.index and piece.id in ("", call.id):
                if block is not self.blocks[-1]:
                    raise ProviderFailed("the pieces of its tools' calls came mixed")
                return block
        return self._next(events, "call", piece)


def named(event: JsonObject) -> bytes:
    """A server-sent event, named by its type."""
    kind: JsonValue = event["type"]
    return f"event: {kind}\n".encode() + b"data: " + _encode(event) + b"\n\n"
