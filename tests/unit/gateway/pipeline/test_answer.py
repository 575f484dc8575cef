"""A pipeline's answer in each API's form, through the chat completion that it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.chat.from_chat import Rendering
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.responses.dialect import RESPONSES
from gateway.pipeline.answer import PipelineCompletion
from gateway.pipeline.run import Done, Piece, PipelineResult

STAGES: list[JsonValue] = [{"stage": "s"}]
USAGE: JsonObject = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3, "stages": STAGES}


def rendering(dialect: Dialect, *, usage_wanted: bool = False) -> Rendering:
    assert dialect.conversion is not None
    return dialect.conversion.rendering("r", {}, usage_wanted)


def whole(dialect: Dialect, text: str = "{}", finish: str = "stop") -> Any:
    answer = PipelineCompletion("r", 1, "p").whole(PipelineResult(text, USAGE, finish))
    return rendering(dialect).whole(answer)


def streamed(dialect: Dialect, *, usage_wanted: bool = False) -> list[Any]:
    """The documents of a stream's events."""
    completion, written = PipelineCompletion("r", 1, "p"), rendering(dialect, usage_wanted=usage_wanted)
    said: list[Piece | Done] = [Piece("x"), Piece("y"), Done(USAGE, "stop")]
    chunks = [completion.first(), *map(completion.chunk, said)]
    text = b"".join([*map(written.piece, chunks), written.end()]).decode()
    found = [event.rpartition("data: ")[2] for event in text.split("\n\n") if event]
    return [json.loads(data) if data != "[DONE]" else data for data in found]


def test_answers_have_openais_shapes() -> None:
    chat, text = whole(CHAT), whole(TEXT)
    assert (chat["id"], chat["object"]) == ("chatcmpl-r", "chat.completion")
    message = {"role": "assistant", "content": "{}"}
    assert chat["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    assert (text["id"], text["object"]) == ("cmpl-r", "text_completion")
    assert text["choices"] == [{"index": 0, "text": "{}", "logprobs": None, "finish_reason": "stop"}]
    assert chat["usage"] == text["usage"] == USAGE


def test_chunks_carry_usage_last_and_only_where_asked_for() -> None:
    *chunks, done = streamed(CHAT)
    assert (len(chunks), done) == (4, "[DONE]")
    assert all("usage" not in chunk for chunk in chunks)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    *chunks, done = streamed(TEXT, usage_wanted=True)
    assert [chunk["usage"] for chunk in chunks] == [None, None, None, USAGE]
    assert chunks[-1]["choices"] == []
    assert [chunk["choices"][0].get("text") for chunk in chunks[:-1]] == ["x", "y", ""]


@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES])
def test_other_apis_have_the_same_stages_whole_and_streamed(dialect: Dialect) -> None:
    events = streamed(dialect)
    last = events[-2]["usage"] if dialect is MESSAGES else events[-1]["response"]["usage"]
    for usage in (whole(dialect)["usage"], last):
        assert (usage["input_tokens"], usage["output_tokens"], usage["stages"]) == (2, 1, STAGES)


def test_an_answer_that_was_cut_says_so_in_each_api() -> None:
    assert whole(MESSAGES, finish="length")["stop_reason"] == "max_tokens"
    response = whole(RESPONSES, finish="length")
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert response["text"] == {"format": {"type": "text"}}
