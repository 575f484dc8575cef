"""Tokens and vectors as the OpenAPI document tells of them; an engine may add fields to its answers."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel

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


EMBEDDINGS = Description(
    "createEmbedding",
    "OpenAI",
    "Embed texts, where the base can.",
    Embeddings,
    ("model", "input"),
    MappingProxyType(
        {
            "encoding_format": {"enum": ["float", "base64", None]},
            "dimensions": maybe("integer", minimum=1),
        }
    ),
)
TOKENIZE = Description(
    "tokenize",
    "vLLM",
    "The tokens of a text or a chat.",
    Tokens,
    (),
    MappingProxyType(
        {
            "return_token_strs": maybe("boolean"),
        }
    ),
)
DETOKENIZE = Description(
    "detokenize",
    "vLLM",
    "The text of tokens.",
    Text,
    ("tokens",),
    MappingProxyType(
        {
            "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        }
    ),
)
