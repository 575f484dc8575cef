"""What the engine refuses of a conversation: one sentence with the whole place, in the client's count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Asked, Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.prompt_faults import fault_in
from gateway.dialects.responses.dialect import RESPONSES
from tests.fakes.fake_engine import Answer
from tests.support.stack import TASKS, stack

RECORDED = json.loads(
    (Path(__file__).parents[3] / "recorded/prompt_refusals.json").read_text(encoding="utf-8")
)
"""A real engine's refusals, with the conversation that each is about and the place that is wrong."""
DIALECTS: dict[str, Dialect] = {"chat": CHAT, "messages": MESSAGES, "responses": RESPONSES}


@pytest.mark.parametrize("one", RECORDED, ids=[f"{one['form']}-{one['param']}" for one in RECORDED])
def test_refusal_is_one_sentence_with_the_place(one: dict[str, Any]) -> None:
    dialect = DIALECTS[one["form"]]
    prompt = msgspec.Raw(json.dumps(one["prompt"]).encode())
    status, body = dialect.refusal(400, json.dumps(one["answer"]).encode(), b"id", Asked(prompt))
    error = json.loads(body)["error"]
    assert status == 400
    assert error.get("param", one["param"]) == one["param"]
    message = error["message"]
    assert f"'{one['param']}'" in message
    assert message.count("'messages[" if one["form"] != "responses" else "'input[") == 1
    assert not any(
        word in message for word in ("Param", "ValidatorIterator", "Input should be", "more of the kind")
    )
    assert len(message) < 200
    assert (message[-1], message[-2] == ".") == (".", False)


def refused(one: dict[str, Any]) -> str:
    message: str = one["answer"]["error"]["message"]
    return message


def test_what_is_sound_has_no_fault_and_another_refusal_is_not_explained_by_the_prompt() -> None:
    said = refused(RECORDED[0])
    sound: list[Any] = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ]  # fmt: skip
    assert fault_in(CHAT.form, "messages", sound, said) is None
    items = [
        "x",
        [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}],
    ]
    assert [fault_in(RESPONSES.form, "input", one, said) for one in items] == [None] * 3  # type: ignore[arg-type]
    wrong = RECORDED[0]["prompt"]
    assert fault_in(CHAT.form, "messages", wrong, said) is not None
    assert fault_in(CHAT.form, "messages", wrong, "1 validation error:\n  {'loc': 'body.n'}") is None


@pytest.mark.parametrize("kind", [["text"], {"text": 1}, 7])
def test_a_type_that_is_no_text_is_a_fault_too(kind: Any) -> None:
    said = refused(RECORDED[0])
    part: Any = [{"role": "user", "content": [{"type": kind, "text": "x"}]}]
    place, _ = fault_in(CHAT.form, "messages", part, said) or ("", "")
    assert place == "messages[0].content[0].type"
    place, _ = fault_in(RESPONSES.form, "input", [{"type": kind}], said) or ("", "")
    assert place == "input[0].type"


def test_a_name_and_a_calls_id_are_texts() -> None:
    """Some clients write what they have not as null."""
    said = refused(RECORDED[0])
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    for message, wrong in (
        ({"role": "user", "content": "x", "name": None}, "messages[0].name"),
        ({"role": "assistant", "content": None, "tool_calls": [call]}, "messages[0].tool_calls[0].id"),
    ):
        place, sentence = fault_in(CHAT.form, "messages", [message], said) or ("", "")  # type: ignore[list-item]
        assert (place, "must be text" in sentence) == (wrong, True)


def test_media_is_a_fault_only_where_the_engine_says_so() -> None:
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}, {"type": "x"}]}]
    place, _ = fault_in(CHAT.form, "messages", image, refused(RECORDED[0])) or ("", "")  # type: ignore[arg-type]
    assert place == "messages[0].content[1].type"
    place, _ = fault_in(CHAT.form, "messages", image, "base is not a multimodal model") or ("", "")  # type: ignore[arg-type]
    assert place == "messages[0].content[0]"


@pytest.mark.anyio
async def test_a_tasks_own_system_message_does_not_count(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        bad = [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]
        s.engine.answers[TASKS["naming"]] = Answer(
            status=400, body=json.dumps(RECORDED[0]["answer"]).encode()
        )
        error = (await s.chat(messages=bad)).json()["error"]
        assert error["param"] == "messages[0].content[0].type"
        told = {
            "error": {
                "message": "1 validation error:\n  {'type': 'string_type', 'loc': 'body.messages.1.name', "
                "'msg': 'Input should be a valid string', 'input': '5'}",
                "param": "body.messages.1.name",
                "code": 400,
            }
        }
        s.engine.answers[TASKS["naming"]] = Answer(status=400, body=json.dumps(told).encode())
        for messages, place in (
            ([{"role": "user", "content": "x", "name": 5}], "messages[0].name"),
            (
                [{"role": "system", "content": "y"}, {"role": "user", "content": "x", "name": 5}],
                "messages[1].name",
            ),
        ):
            error = (await s.chat(messages=messages)).json()["error"]
            assert (error["param"], f"'{place}'" in error["message"]) == (place, True)
