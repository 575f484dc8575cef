"""A tool parser for vLLM, for models whose own way to write a call nothing reads.

A call that is asked for (`required`, or one function by name) is JSON by its schema, whatever the model, and
vLLM reads that itself; but it does so only beside a parser. This one finds no call in free text. vLLM imports
the file by `--tool-parser-plugin`; nothing here may import the gateway or `launch`.
"""

from __future__ import annotations

from typing import Any

from vllm.entrypoints.generate.base.protocol import DeltaMessage, ExtractedToolCallInformation
from vllm.tool_parsers import ToolParser, ToolParserManager

NAME = "lora_gateway_forced"


class ForcedToolParser(ToolParser):  # type: ignore[misc]  # vLLM has no types
    """Reads no calls but those that a schema forced."""

    supports_required_and_named = True

    def adjust_request(self, request: Any) -> Any:
        """One call, where some are required: a model that was never shown how writes calls without an end."""
        if request.tool_choice == "required":
            request.parallel_tool_calls = False
        return super().adjust_request(request)

    def extract_tool_calls(self, model_output: str, request: Any) -> ExtractedToolCallInformation:
        return ExtractedToolCallInformation(tools_called=False, tool_calls=[], content=model_output)

    def extract_tool_calls_streaming(
        self, previous_text: str, current_text: str, delta_text: str, *_: Any
    ) -> DeltaMessage | None:
        return DeltaMessage(content=delta_text)


ToolParserManager.register_module(NAME, module=ForcedToolParser)
