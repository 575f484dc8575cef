"""Errors and models in Anthropic's form."""

from __future__ import annotations

import json

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Entry
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.messages.envelopes import envelope
from gateway.dialects.registry import dialect_of_headers, dialect_of_path

ENTRY: Entry = {"id": "naming", "object": "model", "created": 1_700_000_000, "max_model_len": 512}


@pytest.mark.parametrize(("status", "kind"), [(404, "not_found_error"), (502, "api_error")])
def test_an_error_has_its_type_by_its_status_and_the_requests_id(status: int, kind: str) -> None:
    assert json.loads(envelope(status, "no", b"r")) == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
        "request_id": "r",
    }


def test_a_model_has_a_title_and_a_date() -> None:
    entry = MESSAGES.model_entry(ENTRY, "Names")
    assert entry == {
        "type": "model",
        "id": "naming",
        "display_name": "Names",
        "created_at": "2023-11-14T22:13:20Z",
        "max_input_tokens": 512,
        "max_tokens": 512,
    }
    listed = MESSAGES.model_list([entry, {**entry, "id": "b"}])
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("naming", "b", False)
    assert MESSAGES.model_list([]) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_openais_form_is_the_entry_itself() -> None:
    assert CHAT.model_entry(ENTRY, "Names") is ENTRY
    assert CHAT.model_list([ENTRY]) == {"object": "list", "data": [ENTRY]}


def test_a_client_is_told_apart_by_its_header_and_a_lost_path_by_its_beginning() -> None:
    assert dialect_of_headers([(b"anthropic-version", b"2023-06-01")]) is MESSAGES
    assert dialect_of_headers([(b"accept", b"*/*")]) is CHAT
    assert dialect_of_path("/v1/messages/batches") is MESSAGES
    assert dialect_of_path("/v1/nothing") is CHAT
