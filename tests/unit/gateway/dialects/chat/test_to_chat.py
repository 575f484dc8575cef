"""Chats and prompts as chats."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.chat.request_parts import CannotAsk
from gateway.errors import InvalidRequest


def test_a_chat_is_itself_without_labels_and_nulls() -> None:
    body: Any = {"messages": [{"role": "user", "content": "a"}], "seed": 1, "store": False, "stop": None}
    assert CHAT.as_chat(body).document == {"messages": body["messages"], "seed": 1}


def test_what_a_chat_holds_beside_text_stays_where_it_stood_and_is_told_of() -> None:
    picture: Any = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
    chat = CHAT.as_chat({"messages": [picture, "x", {"role": "user", "content": "a"}]})
    assert chat.messages == [picture, "x", {"role": "user", "content": "a"}]
    assert chat.places == ["messages[0]", "messages[1]", "messages[2]"]
    assert "text only" in str(chat.unsaid)


@pytest.mark.parametrize("prompt", ["a", ["a"]])
def test_a_prompt_is_a_users_message(prompt: Any) -> None:
    chat = TEXT.as_chat({"prompt": prompt, "n": 2})
    assert chat.document == {"messages": [{"role": "user", "content": "a"}], "n": 2}
    assert (chat.places, chat.unsaid) == (["prompt"], None)
    told = chat.told(InvalidRequest("'messages[0].content' is bad", param="messages[0].content"))
    assert (told.param, told.message) == ("prompt", "'prompt' is bad")


def test_more_than_one_prompt_is_refused() -> None:
    for prompt in (["a", "b"], [1, 2], 3):
        with pytest.raises(CannotAsk, match="one prompt") as caught:
            TEXT.as_chat({"prompt": prompt})  # type: ignore[dict-item]  # wrong on purpose
        assert caught.value.param == "prompt"
    with pytest.raises(InvalidRequest, match="'prompt' is required"):
        TEXT.as_chat({"prompt": None})
