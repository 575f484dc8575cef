"""The parser for bases whose own calls nothing reads: forced calls go through vLLM's own code."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from launch.engine.argv import FORCED_PARSER, FORCED_PARSER_FILE

TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
}
NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def parser_class() -> Any:
    """vLLM's composed parser, with ours registered as vLLM does it; no collecting imports it."""
    vllm_parsers = pytest.importorskip("vllm.tool_parsers")
    from vllm.parser.parser_manager import ParserManager

    vllm_parsers.ToolParserManager.import_tool_parser(str(FORCED_PARSER_FILE))
    return ParserManager.get_parser(tool_parser_name=FORCED_PARSER, enable_auto_tools=True)


def asked(choice: object) -> Any:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    fields = {"messages": [{"role": "user", "content": "x"}], "tools": [TOOL], "tool_choice": choice}
    return ChatCompletionRequest.model_validate(fields)


def test_some_call_is_one_by_its_schema(parser_class: Any) -> None:
    request = asked("required")
    parser = parser_class(object(), request.tools)
    schema = parser.adjust_request(request).structured_outputs.json
    assert (schema["minItems"], schema["maxItems"]) == (1, 1)
    _, content, calls = parser.parse('[{"name": "f", "parameters": {"a": "b"}}]', request, True)
    assert [(call.name, call.arguments) for call in calls] == [("f", '{"a": "b"}')]
    assert not content


def test_a_named_call_is_its_arguments(parser_class: Any) -> None:
    request = asked(NAMED)
    parser = parser_class(object(), request.tools)
    assert parser.adjust_request(request).structured_outputs.json == TOOL["function"]["parameters"]  # type: ignore[index]
    _, _, calls = parser.parse('{"a": "b"}', request, True)
    assert [(call.name, call.arguments) for call in calls] == [("f", '{"a": "b"}')]


def test_free_text_is_no_call(parser_class: Any) -> None:
    request = asked("none")
    _, content, calls = parser_class(object(), request.tools).parse('{"name": "f"}', request, True)
    assert (content, calls) == ('{"name": "f"}', [])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # where it is the first to import vLLM
def test_the_file_stands_alone() -> None:
    spec = importlib.util.spec_from_file_location("forced_alone", FORCED_PARSER_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NAME == FORCED_PARSER
