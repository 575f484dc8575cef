"""What client and engine say to each other in a benchmark, in the shapes that vLLM 0.32 was recorded with."""

from __future__ import annotations

import json
from collections.abc import Iterable

TASK = "naming"
ADAPTER_ID = f"{TASK}@0123456789ab"
BASE = "base"
KEY = "sk-bench-0123456789abcdef0123456789abcdef"
CHAT_PATH = "/v1/chat/completions"
DELAY_DIGITS = 8
ANSWER = (
    "apple: the round fruit of a tree of the rose family, with firm white flesh and a thin green or red skin"
)
# Three digits always, so that each token's event is as long.
TOKEN = " token%03d"


def task_names(count: int) -> list[str]:
    """The served task and, beyond one, `task-00001` and on."""
    return [TASK, *(f"task-{number:05d}" for number in range(1, count))]


def models_body(tasks: Iterable[str]) -> bytes:
    """The engine's answer to GET /v1/models: the base and one adapter per task."""

    def entry(name: str, parent: str | None) -> dict[str, object]:
        known = {"id": name, "object": "model", "created": 1700000000, "owned_by": "vllm"}
        return known | {"root": f"/models/{name}", "parent": parent, "max_model_len": 4096}

    data = [entry(BASE, None), *(entry(f"{task}@0123456789ab", BASE) for task in tasks)]
    return json.dumps({"object": "list", "data": data}).encode()


def chat_body(model: str = TASK, *, stream: bool = False, tokens: int = 64, content: str = "") -> bytes:
    """A client's request; `content` defaults to a prompt of some 120 characters."""
    prompt = (
        content
        or "Definition: a round fruit with firm white flesh and a thin skin\nMembers: pippin, russet, bramley"
    )
    asked: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    asked["max_tokens"] = tokens
    if stream:
        asked["stream"] = True
    return json.dumps(asked).encode()


def asked_for(model: str, prompt: object, tokens: int, **more: object) -> dict[str, object]:
    """A request for a completion of exactly so many tokens, greedy; `prompt` is text, or tokens' ids."""
    asked = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    return asked | more


def completion_body() -> bytes:
    """A whole answer of 0.8 kB."""
    message: dict[str, object] = {"role": "assistant", "content": ANSWER}
    message |= dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
    choice: dict[str, object] = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    choice |= dict.fromkeys(("stop_reason", "token_ids", "routed_experts"))
    nothing = ("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params", "metrics")
    answer: dict[str, object] = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion"}
    answer |= {"created": 1700000000, "model": ADAPTER_ID, "choices": [choice], "service_tier": None}
    answer |= {"system_fingerprint": "vllm-0.32.0-edfb9ea8", "usage": _usage(10)}
    return json.dumps(answer | dict.fromkeys(nothing)).encode()


def _usage(tokens: int) -> dict[str, object]:
    usage: dict[str, object] = {"prompt_tokens": 35, "total_tokens": 35 + tokens, "completion_tokens": tokens}
    return usage | {"prompt_tokens_details": None}


def _event(document: object) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _chunk(choices: list[dict[str, object]], **more: object) -> bytes:
    head = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "created": 1700000000}
    return _event(head | {"model": ADAPTER_ID, "choices": choices} | more)


def role_event() -> bytes:
    """The first event, which carries the role and no text."""
    choice: dict[str, object] = {"index": 0, "delta": {"role": "assistant", "content": ""}}
    return _chunk([choice | {"logprobs": None, "finish_reason": None}], prompt_token_ids=None)


def token_event(text: str, finish_reason: str | None = None) -> bytes:
    """One token, some 230 bytes."""
    choice: dict[str, object] = {"index": 0, "delta": {"content": text}, "logprobs": None}
    return _chunk([choice | {"finish_reason": finish_reason, "token_ids": None}])


def delay_text(delay_us: int) -> str:
    """The text of the first token: the delay the mock took, so that the client can subtract its jitter."""
    return f"~{delay_us:0{DELAY_DIGITS}d}"


def token_texts(tokens: int) -> list[str]:
    """The texts of all tokens but the first."""
    return [TOKEN % (number % 1000) for number in range(1, tokens)]


def token_events(tokens: int) -> list[bytes]:
    """The events of all tokens but the first; the last one says why it is the last."""
    texts = token_texts(tokens)
    return [
        token_event(text, "length" if number == len(texts) - 1 else None) for number, text in enumerate(texts)
    ]


def usage_event(tokens: int) -> bytes:
    """What follows the tokens where the request asked for `stream_options.include_usage`."""
    return _chunk([], usage=_usage(tokens))


DONE = b"data: [DONE]\n\n"


def read_stream(body: bytes) -> tuple[int, list[str]]:
    """A stream as a client reads it: the mock's delay in us, and the other tokens' texts.

    The events are decoded, since proxies may re-write them. Raises ValueError where it is no whole stream.
    """
    texts: list[str] = []
    ended = False
    for line in body.split(b"\n"):
        line = line.strip()
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            ended = True
            continue
        event = json.loads(data)
        for choice in event.get("choices") or ():
            text = (choice.get("delta") or {}).get("content")
            if text:
                texts.append(text)
    if not ended or not texts or not texts[0].startswith("~"):
        raise ValueError("the stream does not begin and end as it should")
    return int(texts[0][1:]), texts[1:]
