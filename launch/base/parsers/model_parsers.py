"""Which of vLLM's parsers reads a base's tool calls and its thinking, as vLLM's documentation has it. Pure.

The chat template decides: it is what tells the model how to write a call, whoever trained it on whatever
architecture. The family decides where several write alike, or where vLLM writes the prompt itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.config.document import JsonObject

OPENS_THINKING = re.compile(r"(?s)add_generation_prompt(?:(?!endif).)*?<think>")
"""The prompt for an answer ends within thinking, whatever a client sets."""
RENDERS_TOOLS = re.compile(r"\btools\b")


@dataclass(frozen=True)
class Model:
    """What is known of a base before it is started."""

    types: frozenset[str]
    """`model_type` of the model and of its text part."""
    name: str
    template: str
    """The chat template for requests with tools; empty where there is none."""
    has_token: Callable[[str], bool]
    """Whether a text is one token of its vocabulary: without the token some parsers do not start."""
    mistral_tokenizer: bool = False
    """It brings Mistral's own tokenizer, which vLLM then takes, with no template."""


@dataclass(frozen=True)
class Parsers:
    """Names as vLLM has them; None where nothing of vLLM's reads what this model writes."""

    tools: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True)
class _Rule:
    parser: str
    types: tuple[str, ...] = ()
    """Of these families; empty: of any."""
    marks: tuple[str, ...] = ()
    """All of them stand in the template."""
    without: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    """What the parser must find in the vocabulary."""
    shown: bool = True
    """Only where the template shows the model its tools."""


_QWEN_XML = ("<function=", "<parameter=")
_GLM = ("<arg_key>",)
_PYTHON = ("<|python_tag|>",)
_DEEPSEEK = "<｜tool▁calls▁begin｜>"
_DEEPSEEK_TOKENS = (_DEEPSEEK, "<｜tool▁call▁begin｜>")
_TOOLS = (
    # vLLM writes these families' prompts itself, or their form is their own alone.
    _Rule("openai", types=("gpt_oss",), shown=False),
    _Rule("kimi_k3", types=("kimi_k3",), shown=False),
    _Rule("gemma4", types=("gemma4", "gemma4_text"), marks=("<|tool_call>",)),
    _Rule("kimi_k2", marks=("<|tool_calls_section_begin|>",)),
    _Rule("deepseek_v3", marks=(_DEEPSEEK, "```json"), tokens=_DEEPSEEK_TOKENS),
    _Rule("deepseek_v31", marks=(_DEEPSEEK,), tokens=_DEEPSEEK_TOKENS),
    _Rule("glm47", types=("glm4_moe_lite", "glm_moe_dsa"), marks=_GLM),
    _Rule("glm45", types=("glm4_moe", "glm4v_moe"), marks=_GLM),
    _Rule("seed_oss", marks=("<seed:tool_call>",)),
    _Rule("minimax_m2", marks=("<minimax:tool_call>",)),
    _Rule("longcat", marks=("<longcat_tool_call>",)),
    _Rule("step3", marks=("<｜tool_calls_begin｜>",)),
    _Rule("step3p5", types=("step3p5", "step3p7"), marks=_QWEN_XML),
    _Rule("mimo", types=("mimo_v2_flash",), marks=_QWEN_XML),
    _Rule("qwen3_coder", marks=_QWEN_XML),
    _Rule("functiongemma", marks=("<start_function_call>",)),
    _Rule("apertus", marks=("<|tools_prefix|>",)),
    _Rule("gigachat3", marks=("function call<|role_sep|>",)),
    _Rule("gigachat3", types=("deepseek_v3",), marks=("<|function_call|>",)),
    _Rule("internlm", marks=("<|action_start|>", "<|plugin|>")),
    _Rule("lfm2", types=("lfm2", "lfm2_moe"), tokens=("<|tool_call_start|>", "<|tool_call_end|>")),
    _Rule("olmo3", types=("olmo3",), marks=("<function_calls>",)),
    _Rule("jamba", types=("jamba",), marks=("<tool_calls>",), tokens=("<tool_calls>", "</tool_calls>")),
    _Rule("hunyuan_a13b", types=("hunyuan_v1_moe", "hunyuan"), marks=("<tool_calls>",)),
    _Rule("granite-20b-fc", types=("gpt_bigcode",), marks=("<function_call>",)),
    _Rule("granite4", types=("granite", "granitemoehybrid"), marks=("<tool_call>", "</tool_call>")),
    _Rule("granite", types=("granite", "granitemoe"), marks=("<|tool_call|>",)),
    _Rule("granite", types=("granite", "granitemoe"), marks=("<tool_call>",)),
    _Rule("ernie45", types=("ernie4_5", "ernie4_5_moe"), marks=("<tool_call>",)),
    _Rule("mistral", marks=("[TOOL_CALLS]",), tokens=("[TOOL_CALLS]",)),
    _Rule("llama4_pythonic", types=("llama4", "llama4_text"), marks=("[func_name1(",)),
    _Rule("llama4_json", types=("llama4", "llama4_text"), marks=('"parameters": ',), tokens=_PYTHON),
    _Rule("llama3_json", marks=('"parameters": ', "ipython"), tokens=_PYTHON),
    _Rule("hermes", marks=("<tool_call>",), without=_GLM),
)  # fmt: skip
_DEEPSEEK_THINKING = ("deepseek_v3", "deepseek_v32")
_THINK = ("<think>", "</think>")
_THINKS = "</think>"
_CHANNEL = ("<|channel>", "<channel|>")
_QWEN3 = ("qwen3", "qwen3_moe", "qwen3_next", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
_QWEN3_PARTS = tuple(f"{name}_text" for name in _QWEN3)
_REASONING = (
    _Rule("openai_gptoss", types=("gpt_oss",)),
    _Rule("kimi_k3", types=("kimi_k3",)),
    _Rule("seed_oss", marks=("<seed:think>",), tokens=("<seed:think>", "</seed:think>")),
    _Rule("deepseek_v3", types=_DEEPSEEK_THINKING, marks=("thinking", _THINKS), tokens=_THINK),
    _Rule("glm47", types=("glm4_moe_lite", "glm_moe_dsa"), marks=(_THINKS,), tokens=_THINK),
    _Rule("glm45", types=("glm4_moe", "glm4v_moe"), marks=(_THINKS,), tokens=_THINK),
    _Rule("minimax_m2_append_think", types=("minimax_m2",), marks=("<think>",), tokens=_THINK),
    _Rule("kimi_k2", types=("kimi_k2",), marks=(_THINKS,), tokens=_THINK),
    _Rule("gemma4", types=("gemma4", "gemma4_text"), marks=("<|channel>",), tokens=_CHANNEL),
    _Rule("granite", types=("granite", "granitemoe"), marks=("thinking", "thought process")),
    _Rule("mimo", types=("mimo_v2_flash",), marks=("enable_thinking", "<think>"), tokens=_THINK),
    _Rule("step3p5", types=("step3p5", "step3p7"), marks=("<think>",), tokens=_THINK),
    _Rule("ernie45", types=("ernie4_5_moe", "ernie4_5_moe_vl"), marks=("<think>",), tokens=_THINK),
    _Rule("hunyuan_a13b", types=("hunyuan_v1_moe", "hunyuan"), marks=("enable_thinking",)),
    _Rule("nemotron_v3", types=("nemotron_h",), marks=("enable_thinking", "<think>"), tokens=_THINK),
    _Rule("qwen3", types=(*_QWEN3, *_QWEN3_PARTS), marks=("enable_thinking", "<think>"), tokens=_THINK),
)  # fmt: skip
"""Families of which some think and some do not; the template says which one this is."""


def parsers_of(model: Model) -> Parsers:
    """As vLLM's documentation pairs them; what it does not pair stays None."""
    return Parsers(_tools_of(model), _reasoning_of(model))


def model_of(
    config: JsonObject,
    name: str,
    template: str,
    has_token: Callable[[str], bool],
    *,
    mistral_tokenizer: bool = False,
) -> Model:
    """What a `config.json` and a chat template tell."""
    held = [config, config.get("text_config")]
    kinds = [part.get("model_type") for part in held if isinstance(part, Mapping)]
    types = frozenset(kind for kind in kinds if isinstance(kind, str))
    return Model(types, name, template, has_token, mistral_tokenizer)


def _tools_of(model: Model) -> str | None:
    if "xlam" in model.name.lower():
        return "xlam"
    if model.mistral_tokenizer:
        return "mistral"
    shown = RENDERS_TOOLS.search(model.template) is not None
    for rule in _TOOLS:
        if (shown or not rule.shown) and _fits(rule, model):
            return rule.parser
    return None


def _reasoning_of(model: Model) -> str | None:
    for rule in _REASONING:
        if _fits(rule, model):
            return rule.parser
    # R1, its distillations and QwQ: whatever the architecture, an answer begins within thinking.
    if not OPENS_THINKING.search(model.template) or "enable_thinking" in model.template:
        return None
    if "olmo3" in model.types:
        return "olmo3"
    if not all(map(model.has_token, _THINK)):
        return None
    return "qwen3" if model.types & {*_QWEN3, *_QWEN3_PARTS} else "deepseek_r1"


def _fits(rule: _Rule, model: Model) -> bool:
    return (
        (not rule.types or bool(model.types & set(rule.types)))
        and all(mark in model.template for mark in rule.marks)
        and not any(mark in model.template for mark in rule.without)
        and all(map(model.has_token, rule.tokens))
    )
