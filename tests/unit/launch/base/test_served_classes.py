"""Which of a base's modules the engine serves adapters on."""

from __future__ import annotations

from launch.base.served_classes import served_by
from tests.support.adapter_folders import Q
from tests.support.vllm_source import describe, registry
from tests.unit.launch.adapters.test_adapter_bases import PREFIX


def test_table_of_classes_is_the_installed_engines() -> None:
    known = registry()
    names = [
        "LlamaForCausalLM",
        "Qwen2ForCausalLM",
        "MistralForCausalLM",
        "GptOssForCausalLM",
        "GPT2LMHeadModel",
    ]
    for name in [*names, "Qwen2_5_VLForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration"]:
        facts, served = describe(name, known), served_by({"architectures": [name]})
        assert served is not None
        assert served.takes_lora == facts["lora"]
        assert served.vocabulary == (frozenset(facts["vocabulary"]) if facts["lora"] else None)
        assert served.language == facts.get("language")
        assert served.prefixes == facts.get("renames", {}).get("prefix", {})
        assert served.fused_experts == ("experts" in facts)
    assert Q.startswith(PREFIX)
