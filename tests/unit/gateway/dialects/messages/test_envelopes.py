"""Errors and models in Anthropic's form."""

from __future__ import annotations

import json

import anthropic
import msgspec
import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import ListedModel
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.messages.envelopes import envelope, model_entry, model_list, reworded
from gateway.dialects.registry import dialect_of_headers, dialect_of_path

_NONE = msgspec.Raw(b"[]")
MODEL = ListedModel(
    "naming", "model", 1_700_000_000, "lora-gateway", "task", "", "n@1", "base", 512, _NONE, _NONE, None
)


@pytest.mark.parametrize(("status", "kind"), [(404, "not_found_error"), (502, "api_error")])
def test_an_error_has_its_type_by_its_status_and_the_requests_id(status: int, kind: str) -> None:
    assert json.loads(envelope(status, "no", b"r")) == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
        "request_id": "r",
    }


def test_a_model_has_a_title_and_a_date() -> None:
    entry = model_entry(msgspec.structs.replace(MODEL, description="Names"))
    assert entry == {
        "type": "model",
        "id": "naming",
        "display_name": "Names",
        "created_at": "2023-11-14T22:13:20Z",
        "lifecycle": "active",
        "max_input_tokens": 512,
        "max_tokens": 512,
    }
    other = msgspec.structs.replace(MODEL, id="b", description="Names")
    listed = {"data": [{**entry, "display_name": "naming"}, {**entry, "id": "b"}], "has_more": False}
    assert model_list([MODEL, other]) == {**listed, "first_id": "naming", "last_id": "b"}
    assert model_list([]) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert anthropic.types.ModelInfo.model_validate(entry).lifecycle == "active"


@pytest.mark.parametrize("cut", ['{"city": "Par', '{"city"', "{", ""])
def test_a_call_that_was_cut_off_says_what_to_do(cut: str) -> None:
    with pytest.raises(ValueError, match="char") as raised:
        json.loads(cut)
    assert "send a larger max_tokens" in reworded(str(raised.value))
    assert reworded("max_tokens must be positive") == "max_tokens must be positive"


def test_openais_form_is_the_entry_itself() -> None:
    assert CHAT.model_entry(MODEL) is MODEL
    assert CHAT.model_list([MODEL]) == {"object": "list", "data": [MODEL]}


def test_a_client_is_told_apart_by_its_header_and_a_lost_path_by_its_beginning() -> None:
    assert dialect_of_headers([(b"anthropic-version", b"2023-06-01")]) is MESSAGES
    assert dialect_of_headers([(b"accept", b"*/*")]) is CHAT
    assert dialect_of_path("/v1/messages/batches") is MESSAGES
    assert dialect_of_path("/v1/nothing") is CHAT
