"""A request is refused by the first element of a list that is wrong, not by all.

Each item of a conversation may have one of many forms, and pydantic has errors for each form that a wrong one
has not. Of `{"input": [{}, {}, …]}` 8 kB were 468,001 errors to vLLM 0.32: 3 s of the loop that serves all,
and 2.2 GB of memory. So 40 kB would end an engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

REQUESTS = {
    "vllm.entrypoints.openai.chat_completion.protocol": ("ChatCompletionRequest",),
    "vllm.entrypoints.openai.completion.protocol": ("CompletionRequest",),
    "vllm.entrypoints.openai.responses.protocol": ("ResponsesRequest",),
    "vllm.entrypoints.anthropic.protocol": ("AnthropicMessagesRequest", "AnthropicCountTokensRequest"),
    "vllm.entrypoints.serve.tokenize.protocol": ("TokenizeChatRequest", "DetokenizeRequest"),
}
"""What a client's body becomes, by the modules that have it; its routes are made later."""


def mend_requests() -> None:
    """Let validation stop early; a vLLM that has them elsewhere is left as it is."""
    for module, names in REQUESTS.items():
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        for name in names:
            if hasattr(found, name):
                stop_at_first(getattr(found, name), set())


def stop_at_first(model: Any, done: set[Any]) -> None:
    """Have the lists of a pydantic model end at the first element that does not fit, those within it first.

    `done`: the models that were looked at; what validates them stands in what validates those around them.
    """
    from pydantic_core import SchemaValidator

    done.add(model)
    schema = getattr(model, "__pydantic_core_schema__", None)
    if isinstance(schema, dict):
        for inner in _models_in(schema, set()):
            if inner not in done:
                stop_at_first(inner, done)
        model.__pydantic_complete__ = False  # else what validates it now would be taken over
        model.__pydantic_validator__ = SchemaValidator(schema)
        model.__pydantic_complete__ = True


def _models_in(schema: Any, seen: set[int]) -> Iterator[Any]:
    """The models of a schema, whose lists are told to end early."""
    if id(schema) in seen or not isinstance(schema, (dict, list, tuple)):
        return
    seen.add(id(schema))
    if isinstance(schema, dict):
        if schema.get("type") == "list":
            schema["fail_fast"] = True
        if schema.get("type") in ("model", "dataclass"):
            yield schema["cls"]
    for one in list(schema.values()) if isinstance(schema, dict) else schema:
        yield from _models_in(one, seen)
