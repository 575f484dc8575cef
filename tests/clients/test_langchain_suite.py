"""`langchain-tests`' standard integration suite for `ChatOpenAI` on this gateway."""

from __future__ import annotations

from collections.abc import Sequence
from types import FunctionType
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import SecretStr

from tests.clients.conftest import LEFT_OUT

TEXT_ONLY = "the model reads and writes text"
SKIPPED = {
    "test_pdf_inputs": TEXT_ONLY,
    "test_audio_inputs": TEXT_ONLY,
    "test_image_inputs": TEXT_ONLY,
    "test_image_tool_message": TEXT_ONLY,
    "test_pdf_tool_message": TEXT_ONLY,
    "test_stream_time": "it plays back a recording of other answers; here every answer is a real one",
}
"""What the suite leaves out by the properties of the class below, and why."""
BEYOND_THE_MODEL = {
    "test_agent_loop": "with tool_choice auto a model of 135M calls no tool by itself",
    "test_unicode_tool_call_integration": "a name is to be repeated in Chinese; the model cannot",
    "test_json_mode": "without a schema the model does not keep to the two keys that are asked for",
}
"""What runs and fails for want of a larger model; once one of them passes, its entry is too many."""


class StrictChatOpenAI(ChatOpenAI):
    """Binds tools with `strict`, so that the engine holds their arguments to the schema.

    Without it the arguments are whatever the model writes, and a model of 135M writes `[3]`.
    """

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        strict = kwargs.pop("strict", None)
        return super().bind_tools(
            tools, tool_choice=tool_choice, strict=True if strict is None else strict, **kwargs
        )


def beyond_the_model(suite: type) -> type:
    for name, reason in BEYOND_THE_MODEL.items():
        test = getattr(ChatModelIntegrationTests, name)
        setattr(suite, name, pytest.mark.xfail(reason=reason)(_copy(test)))
    return suite


def _copy(test: FunctionType) -> FunctionType:
    """A function of its own, since a mark on the suite's would stay there."""
    copy = FunctionType(test.__code__, test.__globals__, test.__name__, test.__defaults__, test.__closure__)
    copy.__dict__.update({**test.__dict__, "pytestmark": list(getattr(test, "pytestmark", []))})
    return copy


@beyond_the_model
class TestChatOpenAI(ChatModelIntegrationTests):  # type: ignore[misc]  # untyped where the checks run
    url = ""

    @pytest.fixture(autouse=True)
    def _served(self, url: str) -> None:
        type(self).url = url

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return StrictChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, object]:
        return {
            "model": "naming",
            "base_url": f"{self.url}/v1",
            "api_key": SecretStr("none"),
            "temperature": 0,
            "max_tokens": 96,
            "stream_usage": True,
            "max_retries": 0,
            "timeout": 240,
        }

    @property
    def model_override_value(self) -> str:
        return "base"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


def test_list_of_what_is_left_out_is_exact(request: pytest.FixtureRequest) -> None:
    """It stands last: every skip is listed with its reason, and nothing is listed that is not skipped."""
    wanted = {name: {"skipped"} for name in SKIPPED} | {name: {"xfailed"} for name in BEYOND_THE_MODEL}
    assert request.config.stash.get(LEFT_OUT, {}) == wanted
