"""Which parser reads a base's tool calls and its thinking: by its chat template and family."""

from __future__ import annotations

import ast

import pytest

from gateway.config.document import JsonObject
from launch.base.parsers.model_parsers import _REASONING, _TOOLS, Parsers, model_of, parsers_of
from launch.engine.argv import FORCED_PARSER, FORCED_PARSER_FILE

THINK = ("<think>", "</think>")


QWEN = """{% if tools %}# Tools <tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>
For each call return <tool_call>{"name": <function-name>, "arguments": <args-json-object>}</tool_call>
{% endif %}{% for message in messages %}{{ message.content }}{% endfor %}"""


QWEN3 = (
    QWEN
    + "{% if add_generation_prompt %}{% if enable_thinking is false %}<think></think>{% endif %}{% endif %}"
)


QWEN3_THINKING = QWEN + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"


CODER = """{% if tools %}<tools>{{ tools }}</tools><tool_call>
<function=example_function_name><parameter=example>value</parameter></function></tool_call>{% endif %}"""


LLAMA = """{% if tools %}Environment: ipython. Respond in the format
{"name": function name, "parameters": dictionary of argument name and its value}.{{ tools }}{% endif %}
{{- '{"name": "' + call.name + '", ' }}{{- '"parameters": ' }}"""


LLAMA4 = "{% if tools %}[func_name1(params_name1=params_value1), func_name2(params)]{{ tools }}{% endif %}"


MISTRAL = "{% if tools %}[AVAILABLE_TOOLS]{{ tools }}[/AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]"


CALLS = "<｜tool▁calls▁begin｜>"


CALL = "<｜tool▁call▁begin｜>"


R1 = "{{ '" + CALLS + "```json' }}{% if add_generation_prompt and not ns.tool %}{{'<think>'}}{% endif %}"


V31 = "{% if tools %}{{ tools }}" + CALLS + "{% endif %}{% if thinking %}<think>{% else %}</think>{% endif %}"


GLM = "{% if tools %}{{ tools }}<tool_call>f<arg_key>k</arg_key>{% endif %}{{ '</think>' }}"


KIMI = "{% if tools %}{{ tools }}<|tool_calls_section_begin|>{% endif %}"


GRANITE = "{% if tools %}{{ tools }} respond with <|tool_call|> followed by a JSON list{% endif %}"


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}{{ message.content }}<|im_end|>{% endfor %}"
)


@pytest.mark.parametrize(
    ("kind", "template", "tokens", "tools", "reasoning"),
    [
        ("qwen2", QWEN, (), "hermes", None),
        ("llama", QWEN, (), "hermes", None),  # a Llama trained on Hermes's form writes that
        ("qwen3", QWEN3, THINK, "hermes", "qwen3"),
        ("qwen3_moe", QWEN, THINK, "hermes", None),  # one that does not think
        ("qwen3", QWEN3_THINKING, THINK, "hermes", "qwen3"),
        ("qwen2", QWEN3_THINKING, THINK, "hermes", "deepseek_r1"),  # QwQ
        ("qwen3_moe", CODER, (), "qwen3_coder", None),
        ("llama", LLAMA, ("<|python_tag|>",), "llama3_json", None),
        ("llama", LLAMA, (), None, None),  # the parser would not start without its token
        ("llama4", LLAMA4, (), "llama4_pythonic", None),
        ("mistral", MISTRAL, ("[TOOL_CALLS]",), "mistral", None),
        ("qwen2", R1, (*THINK, CALLS, CALL), None, "deepseek_r1"),  # its template shows no tools
        ("llama", R1, (), None, None),
        ("deepseek_v3", V31, (*THINK, CALLS, CALL), "deepseek_v31", "deepseek_v3"),
        ("glm4_moe", GLM, THINK, "glm45", "glm45"),
        ("glm_moe_dsa", GLM, THINK, "glm47", "glm47"),
        ("kimi_k2", KIMI, (), "kimi_k2", None),
        ("granite", GRANITE, (), "granite", None),
        ("granitemoehybrid", QWEN, (), "granite4", None),
        ("gpt_oss", "{{ tools }}<|channel|>", (), "openai", "openai_gptoss"),
        ("gpt_oss", "", (), "openai", "openai_gptoss"),
        ("nemotron_h", CODER + "{{ enable_thinking }}<think>", THINK, "qwen3_coder", "nemotron_v3"),
        ("lfm2", "{% if tools %}List of tools: {{ tools }}{% endif %}",
         ("<|tool_call_start|>", "<|tool_call_end|>"), "lfm2", None),
        ("gemma3", CHATML, (), None, None),
        ("llama", CHATML, THINK, None, None),
        ("gpt2", "", (), None, None),
    ],
)  # fmt: skip
def test_the_template_decides_and_the_family_where_several_write_alike(
    kind: str, template: str, tokens: tuple[str, ...], tools: str | None, reasoning: str | None
) -> None:
    model = model_of({"model_type": kind}, "some/base", template, lambda token: token in tokens)
    assert parsers_of(model) == Parsers(tools, reasoning)


def test_a_text_model_within_another_counts_and_so_do_name_and_tokenizer() -> None:
    seeing: JsonObject = {"model_type": "mistral3", "text_config": {"model_type": "qwen3"}}
    assert parsers_of(model_of(seeing, "", QWEN3, lambda token: True)).reasoning == "qwen3"
    xlam = model_of({"model_type": "llama"}, "Salesforce/Llama-xLAM-2-8b-fc-r", QWEN, lambda token: True)
    assert parsers_of(xlam).tools == "xlam"
    own = model_of({"model_type": "mistral"}, "", "", lambda token: False, mistral_tokenizer=True)
    assert parsers_of(own).tools == "mistral"


def test_each_parser_is_one_that_vllm_has_and_ours_has_its_name() -> None:
    tools = pytest.importorskip("vllm.tool_parsers")
    from vllm.reasoning import ReasoningParserManager

    assert {rule.parser for rule in _TOOLS} | {"xlam"} <= set(tools.ToolParserManager.list_registered())
    thinking = {rule.parser for rule in _REASONING} | {"olmo3", "deepseek_r1", "qwen3"}
    assert thinking <= set(ReasoningParserManager.list_registered())
    tree = ast.parse(FORCED_PARSER_FILE.read_text(encoding="utf-8"))
    named = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
    assert named == [f"NAME = {FORCED_PARSER!r}"]
