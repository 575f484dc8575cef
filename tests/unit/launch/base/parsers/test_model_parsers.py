"""Which parser reads a base's tool calls and its thinking: by its chat template and family."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from gateway.config.document import BaseConfig, JsonObject
from launch.base.parsers.base_parsers import fitting_parsers
from launch.base.parsers.chat_template import chat_files
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


def base(**settings: object) -> BaseConfig:
    return BaseConfig.model_validate(settings)


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


def test_files_of_a_base(tmp_path: Path) -> None:
    assert chat_files(str(tmp_path)).template == ""
    config = {"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert chat_files(str(tmp_path)).template == "b"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "c"}))
    assert chat_files(str(tmp_path)).template == "c"
    (tmp_path / "chat_template.jinja").write_text("d", encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": CALL}]}))
    files = chat_files(str(tmp_path))
    assert (files.template, files.mistral_tokenizer) == ("d", False)
    assert files.has_token(CALL)
    assert not files.has_token("<think>")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates/tool_use.jinja").write_text("e", encoding="utf-8")
    assert chat_files(str(tmp_path)).template == "e"


def test_files_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_bytes(b"\xff{")
    (tmp_path / "tekken.json").write_text("{}")
    assert chat_files(str(tmp_path)).mistral_tokenizer
    assert chat_files("owner/name", lambda model, name: None).template == ""
    hub = tmp_path / "hub.jinja"
    hub.write_text(QWEN, encoding="utf-8")
    found = chat_files("owner/name", lambda model, name: hub if name == "chat_template.jinja" else None)
    assert found.template == QWEN


def test_auto_asks_a_bases_files_and_a_name_or_null_does_not(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    (tmp_path / "chat_template.jinja").write_text(QWEN, encoding="utf-8")
    folder = str(tmp_path)
    assert fitting_parsers(base(model=folder), folder, "") == Parsers("hermes", None)
    told = base(model=folder, tool_call_parser="pythonic", reasoning_parser=None)
    assert fitting_parsers(told, folder, "") == Parsers()
    assert fitting_parsers(base(model=folder), str(tmp_path / "none"), "") == Parsers()
    for off in (None, "none", "off"):
        assert base(model=folder, tool_call_parser=off).tool_call_parser is None
