"""The engine's own 400 in the client's idiom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.engine_errors import refusal_of
from gateway.dialects.responses.dialect import RESPONSES
from tests.fakes.fake_engine import Answer
from tests.support.stack import TASKS, stack

RECORDED = Path(__file__).parents[3] / "recorded"


def body(message: str, param: str | None = None) -> bytes:
    error = {"message": message, "type": "BadRequestError", "param": param, "code": 400}
    return json.dumps({"error": error}).encode()


def told(message: str, param: str | None = None) -> tuple[str, str | None, str | None]:
    error = refusal_of(body(message, param), CHAT.passed)
    assert error is not None
    return error.message, error.param, error.code


@pytest.mark.parametrize(
    ("name", "message", "param"),
    [
        (
            "error_wrong_type",
            "'temperature': Input should be a valid number, unable to parse string as a number.",
            "temperature",
        ),
        ("error_no_messages", "'messages': Field required.", "messages"),
        (
            "error_bad_regex",
            "Failed to transform regex into a grammar: Regex parsing error at position 5: Two consecutive "
            "repetition modifiers are not allowed.",
            None,
        ),
    ],
)
def test_recorded_refusals_keep_their_reason_and_lose_the_validators_form(
    name: str, message: str, param: str | None
) -> None:
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    status, answer = CHAT.refusal(recorded["status"], json.dumps(recorded["body"]).encode(), b"r")
    assert status == 400
    assert json.loads(answer)["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": "invalid_request",
    }


FULL = "The engine prompt length 512 exceeds the max_model_len 512. Please reduce prompt."


def test_a_prompt_that_is_too_long_has_the_code_that_clients_know() -> None:
    recorded = json.loads((RECORDED / "error_too_long.json").read_text())["body"]
    answer = json.dumps(recorded).encode()
    for dialect, param in ((CHAT, "messages"), (TEXT, "prompt"), (RESPONSES, "input")):
        error = json.loads(dialect.refusal(400, answer, b"r")[1])["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", param)
        assert error["message"].endswith("Please reduce the length of the input prompt.")
    full = "The decoder prompt (length 512) plus the number of requested output tokens (at least 1) is longer"
    for said in (
        f"{full} than the maximum model length of 512.",
        "Input length (513) exceeds the maximum.",
        FULL,
    ):
        assert told(said) == (said, "messages", "context_length_exceeded")
    no_room = told("max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)", "max_tokens")
    assert ("leaves no room" in no_room[0], *no_room[1:]) == (True, "messages", "context_length_exceeded")
    below = "max_tokens must be at least 1, got -1."
    assert told(below) == (below, "max_tokens", "invalid_request")


def test_a_value_of_many_forms_is_named_once_for_each_reason() -> None:
    one = "{'type': 'list_type', 'loc': 'body.prompt', 'msg': 'Input should be a valid list', 'input': '5'}"
    other = "{'type': 'x', 'loc': 'body.prompt', 'msg': \"Input should be 'a' or 'b'\", 'input': '5'}"
    message, param, _ = told(f"3 validation errors:\n  {one}\n  {one}\n  {other}", "body.prompt")
    assert message == (
        "'prompt': Input should be a valid list; 'prompt': Input should be 'a' or 'b'; and more of the kind."
    )
    assert param == "prompt"


def test_forms_inside_a_place_are_left_out_and_indices_are_written_as_such() -> None:
    place = "body.messages.1.ChatCompletionUserMessageParam.content.0.type"
    error = f"{{'type': 'missing', 'loc': '{place}', 'msg': 'Field required', 'input': '<dict of 1 items>'}}"
    assert told(f"1 validation error:\n  {error}")[:2] == (
        "'messages[1].content[0].type': Field required.",
        "messages[1].content[0].type",
    )


def test_what_the_engine_cut_and_what_it_only_counts_is_not_shown() -> None:
    whole = "{'type': 'missing', 'loc': 'body.input', 'msg': 'Field required', 'input': 1}"
    message, param, _ = told(
        f"238 validation errors:\n  {whole}\n  {{'type': 'x', 'loc\n  ...and 228 more errors"
    )
    assert (message, param) == ("'input': Field required; and more of the kind.", "input")


def test_a_validators_own_text_loses_its_links() -> None:
    text = (
        "2 validation errors for ValidatorIterator\n"
        "0.ChatCompletionContentPartTextParam.type\n"
        "  Input should be 'text' [type=literal_error, input_value='wat', input_type=str]\n"
        "    For further information visit https://errors.pydantic.dev/2.14/v/literal_error\n"
        "0.ChatCompletionContentPartImageParam.image_url\n"
        "  Field required [type=missing, input_value={'type': 'wat'}, input_type=dict]\n"
        "    For further information visit https://errors.pydantic.dev/2.14/v/missing"
    )
    assert told(text)[0] == "'[0].type': Input should be 'text'; '[0].image_url': Field required."


@pytest.mark.parametrize(
    ("message", "param", "expected"),
    [
        (
            "temperature must be in [0, 2], got 5.0. (parameter=temperature, value=5.0)",
            "temperature",
            ("temperature must be in [0, 2], got 5.0.", "temperature"),
        ),
        (
            "presence_penalty must be in [-2, 2], got 3.0.",
            None,
            ("presence_penalty must be in [-2, 2], got 3.0.", "presence_penalty"),
        ),
        ("Tensors must be square.", None, ("Tensors must be square.", None)),
        (
            "n must be 1 when using greedy sampling, got 2.",
            None,
            ("'n' over 1 needs a temperature over 0; send one.", "n"),
        ),
    ],
)
def test_a_parameter_that_stands_in_words_alone_is_the_errors_param(
    message: str, param: str | None, expected: tuple[str, str | None]
) -> None:
    assert told(message, param)[:2] == expected


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error":"x"}',
        b'{"error":{}}',
        b'{"error":{"message":"1 validation error:","code":"words"}}',
    ],
)
def test_what_is_no_error_of_the_engines_stays(answer: bytes) -> None:
    assert CHAT.refusal(400, answer, b"r") == (400, answer)


@pytest.mark.parametrize("answer", [b"", b"no json", b"<html>400</html>", b'{"detail":"x"}'])
def test_what_is_no_envelope_is_put_in_the_envelope(answer: bytes) -> None:
    status, body = CHAT.refusal(400, answer, b"r")
    assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_request")


@pytest.mark.anyio
async def test_a_pipelines_client_is_told_the_same_of_its_stage(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        found = "{'type': 'x', 'loc': 'body.temperature', 'msg': 'Input should be a valid number'}"
        s.engine.answers[TASKS["concept"]] = Answer(status=400, body=body(f"1 validation error:\n  {found}"))
        answer = await s.client.post(
            "/v1/chat/completions",
            json={
                "model": "concept-naming",
                "messages": [{"role": "user", "content": "apple"}],
                "temperature": "hot",
            },
        )
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            {
                "message": "Stage task 'concept': 'temperature': Input should be a valid number.",
                "type": "invalid_request_error",
                "param": "temperature",
                "code": "invalid_request",
            },
        )
