"""Roles of other libraries mean what they say: the engine would leave it to the template to drop them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.parameters import Limits
from gateway.dialects.request_body import Fields
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.tokens.dialect import EMBEDDINGS, TOKENIZE
from gateway.errors import InvalidRequest
from tests.support.stack import config_of

EVERY = pytest.mark.parametrize(
    "dialect", [CHAT, TOKENIZE, EMBEDDINGS, RESPONSES, MESSAGES, COUNT_TOKENS], ids=lambda one: one.name
)


def read(dialect: Dialect, folder: Path, *messages: object, strict: bool = False) -> Any:
    asked: dict[str, object] = {dialect.prompt: messages} | ({"max_tokens": 5} if dialect is MESSAGES else {})
    fields: Fields = {key: json.dumps(value).encode() for key, value in asked.items()}  # type: ignore[misc]
    config = config_of(folder, parameters="strict" if strict else "lenient")
    assert dialect.check_fields(fields, Limits(config, lambda: 2048)) == []
    return json.loads(bytes(fields[dialect.prompt]))


@EVERY
def test_roles_of_other_libraries_are_read(tmp_path: Path, dialect: Dialect) -> None:
    said = [{"role": role, "content": "a"} for role in ("human", "model", "user", "ai", "human")]
    meant = [{"role": role, "content": "a"} for role in ("user", "assistant", "user", "assistant", "user")]
    assert read(dialect, tmp_path, *said) == meant


@EVERY
def test_a_strict_gateway_names_them(tmp_path: Path, dialect: Dialect) -> None:
    asked = [{"role": "user", "content": "a"}, {"role": "model", "content": "b"}]
    with pytest.raises(InvalidRequest, match="is 'model'; its name here is 'assistant'") as caught:
        read(dialect, tmp_path, *asked, strict=True)
    assert caught.value.param == f"{dialect.prompt}[1].role"


def test_other_roles_and_words_are_the_templates_own(tmp_path: Path) -> None:
    messages = [{"role": "context", "content": '{"role": "human"}'}, {"role": "user", "content": "a"}]
    assert read(CHAT, tmp_path, *messages) == messages
    odd = [{"role": "user", "content": [{"type": "text", "text": "a", "role": "human"}]}, {"role": ["model"]}]
    assert read(CHAT, tmp_path, *odd) == odd


def test_a_begun_answer_of_the_models_is_gone_on_with(tmp_path: Path) -> None:
    fields: Fields = {
        "messages": b'[{"role":"human","content":"a"},{"role":"model","content":"b","prefix":true}]'  # type: ignore[dict-item]
    }
    assert CHAT.check_fields(fields, Limits(config_of(tmp_path), lambda: 2048)) == []
    assert bytes(fields["continue_final_message"]) == b"true"
