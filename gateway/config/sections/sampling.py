"""What `defaults` may hold: the ranges that the engine takes, since it refuses every request beyond them."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue

from gateway.config.strict import Strict


class SamplingNumbers(Strict):
    """Numbers of a request, as vLLM's SamplingParams bounds them; null is as good as none."""

    model_config = ConfigDict(extra="ignore")

    # vLLM takes any to 0.23, which may serve what is attached, and 2 at most from 0.24 on.
    temperature: Annotated[float, Field(ge=0, json_schema_extra={"maximum": 2})] | None = None
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, description="0 and -1: all")
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1, description="Answers; gateway.max_n bounds it.")
    max_tokens: int | None = Field(None, ge=1, description="From 1 to the model's context.")
    max_completion_tokens: int | None = Field(None, ge=1, description="From 1 to the model's context.")
    min_tokens: int | None = Field(None, ge=0)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0)


def _with_an_end(value: object) -> object:
    """Raises ValueError for what YAML has and no request: numbers without end."""
    for key, one in value.items() if isinstance(value, dict) else ():
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"{key} must be a number with an end")
    return value


def _is_function(value: JsonValue) -> bool:
    """Whether it is a function, or the choice of one, as a chat has both."""
    inner = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    return isinstance(inner, dict) and isinstance(inner.get("name"), str)


def _check_tools(tools: JsonValue, choice: JsonValue) -> None:
    """Raises ValueError for what cannot be written as every API has it."""
    function = (
        "{type: function, function: {name: …}}, as a chat has it; /v1/messages and /v1/responses get theirs"
    )
    if tools is not None and not (isinstance(tools, list) and tools and all(map(_is_function, tools))):
        raise ValueError(f"tools must list functions, each {function}")
    if choice not in (None, "none", "auto", "required") and not _is_function(choice):
        raise ValueError(f"tool_choice must be none, auto, required or {function}")


def _checked(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Also without what YAML has and no request: `yes` where a text is meant.

    A number that came as text, as a variable does, becomes one.
    """
    stop = value.get("stop")
    listed = stop if isinstance(stop, list) else [] if stop is None else [stop]
    if not all(isinstance(one, str) for one in listed):
        raise ValueError("stop must be a text or list texts; write numbers, yes and no in quotes")
    _check_tools(value.get("tools"), value.get("tool_choice"))
    numbers = SamplingNumbers.model_validate(value)
    most = numbers.max_tokens if numbers.max_completion_tokens is None else numbers.max_completion_tokens
    if most is not None and most < (numbers.min_tokens or 0):
        raise ValueError(f"min_tokens must be {most} at most, which is all that an answer may have")
    read = numbers.model_dump(exclude_unset=True)
    return {key: read.get(key, one) if isinstance(one, str) else one for key, one in value.items()}


# The first before pydantic, which names the branch of JSON's types in the key: `temperature.float`.
Sampling = Annotated[dict[str, JsonValue], BeforeValidator(_with_an_end), AfterValidator(_checked)]
