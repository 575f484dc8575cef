"""What the fake engine says beyond chat and completions: vLLM's recorded answers, with the tokens put in."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[1] / "recorded"
WHOLE = {
    "/v1/responses": "response",
    "/v1/messages": "message",
    "/v1/messages/count_tokens": "count_tokens",
    "/tokenize": "tokenize",
    "/detokenize": "detokenize",
    "/v1/embeddings": "error_embeddings",
}
PROMPT_TOKENS = 7


@dataclass(frozen=True)
class Stream:
    """A stream's bytes: what comes before the tokens, each token's, and what comes after."""

    before: bytes
    token: Callable[[str], bytes]
    after: bytes


def whole(path: str, asked: dict[str, object], tokens: list[str]) -> tuple[int, bytes]:
    """Status and body of a whole answer."""
    document = json.loads((RECORDED / f"{WHOLE[path]}.json").read_text(encoding="utf-8"))
    body: Any = document["body"]
    if path == "/v1/responses":
        body = _response(body, asked, "".join(tokens), len(tokens))
    elif path == "/v1/messages":
        body["model"] = asked["model"]
        body["content"] = [{"type": "text", "text": "".join(tokens)}]
        body["usage"] = _message_usage(len(tokens))
    return document["status"], json.dumps(body).encode()


def stream(path: str, asked: dict[str, object], tokens: list[str]) -> Stream:
    """The recorded events of `/v1/responses` or `/v1/messages`, with other tokens."""
    name = f"{WHOLE[path]}_stream"
    recorded = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))["events"]
    events: list[Any] = [json.loads(event.partition("data: ")[2]) for event in recorded]
    at = [index for index, event in enumerate(events) if event["type"] in DELTAS]
    text, count = "".join(tokens), len(tokens)
    for event in events:
        if "response" in event:
            done = event["type"] == "response.completed"
            event["response"] = _response(event["response"], asked, text if done else None, count)
        if event["type"] == "message_start":
            event["message"] |= {"model": asked["model"], "usage": _message_usage(0)}
        if event["type"] == "message_delta":
            event["usage"] = _message_usage(count)
        if event["type"] == "response.output_text.done":
            event["text"] = text

    def token(piece: str) -> bytes:
        event = copy.deepcopy(events[at[0]])
        if path == "/v1/responses":
            event["delta"] = piece
        else:
            event["delta"]["text"] = piece
        return encoded(event)

    before = b"".join(encoded(event) for event in events[: at[0]])
    return Stream(before, token, b"".join(encoded(event) for event in events[at[-1] + 1 :]))


DELTAS = ("response.output_text.delta", "content_block_delta")


def encoded(event: dict[str, Any]) -> bytes:
    data = json.dumps(event, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


def _response(body: Any, asked: dict[str, object], text: str | None, tokens: int) -> Any:
    body = body | {"model": asked["model"]}
    if text is None:
        return body
    part: dict[str, Any] = {"annotations": [], "text": text, "type": "output_text", "logprobs": None}
    body["output"] = [body["output"][0] | {"content": [part]}]
    total = PROMPT_TOKENS + tokens
    body["usage"] |= {"input_tokens": PROMPT_TOKENS, "output_tokens": tokens, "total_tokens": total}
    return body


def _message_usage(tokens: int) -> dict[str, int]:
    return {"input_tokens": PROMPT_TOKENS, "output_tokens": tokens}
