"""Tokens and vectors as the OpenAPI document tells of them; an engine may add fields to its answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from gateway.config.document import JsonObject
from gateway.dialects.description import Description, Usage, maybe


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Tokens(BaseModel):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Text(BaseModel):
    prompt: str


_VECTORS: dict[str, JsonObject] = {
    "encoding_format": {"enum": ["float", "base64", None]},
    "dimensions": maybe("integer", minimum=1),
}
_TOKENS: dict[str, JsonObject] = {
    "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}},
}
_STRINGS = {"return_token_strs": maybe("boolean")}
EMBEDDINGS = Description(
    "createEmbedding", "OpenAI", "Embed texts, where the base can.", Embeddings, ("model", "input"), _VECTORS
)
TOKENIZE = Description("tokenize", "vLLM", "The tokens of a text or a chat.", Tokens, parameters=_STRINGS)
DETOKENIZE = Description("detokenize", "vLLM", "The text of tokens.", Text, ("tokens",), _TOKENS)
