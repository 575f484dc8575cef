"""The lists of parameters are vLLM's own: a release that adds, renames or drops one fails here."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.registry import DIALECTS
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.tokens.dialect import EMBEDDINGS
from tests.engine.request_models import fields_of_request_models

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engines_fields() -> dict[str, set[str]]:
    return fields_of_request_models()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_every_parameter_of_the_engine_passes_or_is_refused(
    dialect: Dialect, engines_fields: dict[str, set[str]]
) -> None:
    theirs = engines_fields[dialect.name]
    assert theirs - dialect.passed - dialect.refused.keys() - dialect.ignored.keys() == set()
    assert dialect.passed - theirs == set()  # the engine would drop them without a word


CLIENTS: dict[Dialect, list[Any]] = {
    CHAT: [chat_create_params.CompletionCreateParamsStreaming],
    TEXT: [completion_create_params.CompletionCreateParamsStreaming],
    RESPONSES: [response_create_params.ResponseCreateParamsStreaming],
    MESSAGES: [message_create_params.MessageCreateParamsStreaming],
    COUNT_TOKENS: [message_count_tokens_params.MessageCountTokensParams],
    EMBEDDINGS: [embedding_create_params.EmbeddingCreateParams],
}


@pytest.mark.parametrize("dialect", CLIENTS, ids=lambda one: one.name)
def test_every_parameter_of_the_sdks_has_an_answer(dialect: Dialect) -> None:
    for kind in CLIENTS[dialect]:
        asked = kind.__required_keys__ | kind.__optional_keys__
        honoured = dialect.passed | dialect.labels
        assert asked - honoured - dialect.refused.keys() - dialect.ignored.keys() == set()
