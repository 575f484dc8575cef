"""What a fallback may be asked on each API: parameters that its answers can say the outcome of."""

from __future__ import annotations

from gateway.dialects.chat.conversion import OF_A_CHAT, OF_ANY_API
from gateway.dialects.chat.dialect import CHAT


def test_chats_have_more_than_any_api_and_all_of_it_is_a_chats() -> None:
    assert OF_ANY_API < OF_A_CHAT
    assert CHAT.passed | CHAT.ignored.keys() | CHAT.labels >= OF_A_CHAT


def test_number_of_a_token_is_no_word_to_another_model() -> None:
    assert not {"logit_bias", "stop_token_ids", "allowed_token_ids"} & OF_A_CHAT
