"""What vLLM's class for a base does with LoRA: which modules of it take one, and under which names it looks.

Read from a table that is made of vLLM's own source: asking the classes themselves costs 15 s, and half of
them cannot be imported beside a CPU torch. A test holds the table against the installed vLLM.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

TABLE = "served_classes.json"
LARGEST_VOCABULARY = 258_048
"""vLLM 0.32, vllm/lora/layers/logits_processor.py: with more entries lm_head has no LoRA."""
# Classes that take experts one by one, and with the option below as one parameter too: these call them
# mlp.experts, as transformers (5.19) does. Others (Mixtral, MiniMax-M2) would leave them out in silence.
BOTH_EXPERTS = frozenset(
    {"Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM", "Qwen3NextForCausalLM", "Qwen3_5MoeForCausalLM"}
    | {"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "Glm4MoeForCausalLM", "Glm4MoeLiteForCausalLM"}
    | {"Ernie4_5_MoeForCausalLM", "ExaoneMoeForCausalLM", "OlmoeForCausalLM"}
)
MIXED_EXPERTS = "enable-mixed-moe-lora-format"
"""vLLM's option; where a class takes experts one by one it changes nothing else."""


@dataclass(frozen=True)
class ServedClass:
    """One of vLLM's model classes, as far as LoRA hangs on it."""

    name: str
    takes_lora: bool = True
    vocabulary: frozenset[str] | None = None
    """Which of embed_tokens, lm_head and the like take LoRA; None: not known."""
    language: str | None = None
    """Where a multimodal class keeps its language model, the one part that LoRA acts on; None: everywhere."""
    fused_experts: bool = False
    """Takes the experts of a layer as two tensors, as peft's `target_parameters` writes them."""
    both_experts: bool = False
    """Takes them one by one as well as so, with MIXED_EXPERTS."""
    substrings: Mapping[str, str] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    renames_known: bool = True

    def place(self, module: str) -> str:
        """The engine's name for an adapter's module, as vLLM's WeightsMapper makes it."""
        name = f"{module}."  # most of the renames end in a dot, as names of weights go on behind it
        for old, new in self.substrings.items():
            name = name.replace(old, new, 1)
        for old, new in self.prefixes.items():
            if name.startswith(old):
                name = name.replace(old, new, 1)
        return name.rstrip(".")

    def reaches(self, module: str) -> bool:
        """Whether LoRA acts on the module, as far as its name tells."""
        if self.language is None or not self.renames_known:
            return True
        return self.place(module).startswith(self.language)


def served_by(config: Mapping[str, object]) -> ServedClass | None:
    """The class that vLLM takes for a config.json; None where the table does not have it."""
    table = _table()
    named = config.get("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    if not names:
        names = [table["model_types"].get(str(config.get("model_type")), "")]
    found = next((name for name in names if name in table["architectures"]), None)
    return None if found is None else _read(table["architectures"][found])


def _read(facts: Mapping[str, Any]) -> ServedClass:
    renames = facts.get("renames", {})
    vocabulary = facts.get("vocabulary")
    return ServedClass(
        name=facts["class"],
        takes_lora=facts.get("lora", True),
        vocabulary=None if vocabulary is None else frozenset(vocabulary),
        language=facts.get("language"),
        fused_experts=facts.get("experts") == "fused",
        both_experts=facts["class"] in BOTH_EXPERTS,
        substrings=(renames or {}).get("substr", {}),
        prefixes=(renames or {}).get("prefix", {}),
        renames_known=renames is not None,
    )


@cache
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = json.loads(
        resources.files("launch.base").joinpath(TABLE).read_text(encoding="utf-8")
    )
    return table
