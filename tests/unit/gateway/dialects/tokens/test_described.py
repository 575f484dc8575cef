"""Tokens and vectors as the OpenAPI document tells of them, held against what vLLM answered."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.dialects.dialect import Dialect
from gateway.dialects.tokens.described import Embeddings
from gateway.dialects.tokens.dialect import DETOKENIZE, TOKENIZE
from tests.support.described import check_described


@pytest.mark.parametrize(("dialect", "name"), [(TOKENIZE, "tokenize"), (DETOKENIZE, "detokenize")])
def test_what_the_engine_answered_is_as_described(dialect: Dialect, name: str) -> None:
    check_described(dialect, name)


@pytest.mark.parametrize("vector", [[0.5, -0.25], "AAAAPwAAgL4="])
def test_a_vector_comes_as_numbers_or_as_base64(vector: object) -> None:
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "model": "base",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    assert Embeddings.model_validate(answer).usage.completion_tokens is None
    answer["data"] = [{"object": "embedding", "index": 0, "embedding": {"0": 0.5}}]
    with pytest.raises(ValidationError):
        Embeddings.model_validate(answer)
