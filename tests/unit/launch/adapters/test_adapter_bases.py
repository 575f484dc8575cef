"""Sound adapters of many bases are taken; what would not act or not load there is refused by its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.adapters.check import check_adapter
from launch.base.lora_shapes import Base, describe_base
from tests.support.adapter_folders import GOOD, LAYOUT, Shapes, adapter

PREFIX = "base_model.model."


HEAD: Shapes = {f"{PREFIX}lm_head.lora_A.weight": (8, 16), f"{PREFIX}lm_head.lora_B.weight": (48, 8)}


SAVED_BESIDE: Shapes = {f"{PREFIX}lm_head.base_layer.weight": (48, 16)}


EXPERT = f"{PREFIX}model.layers.0.mlp.experts"


FUSED: Shapes = {
    f"{EXPERT}.base_layer.lora_A.weight": (32, 16),
    f"{EXPERT}.base_layer.lora_B.weight": (64, 32),
    f"{EXPERT}.lora_A.weight": (32, 32),
    f"{EXPERT}.lora_B.weight": (16, 32),
}


PARAMETERS: dict[str, object] = {
    "target_modules": None,
    "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
}


def base(kind: str, architecture: str = "", **changes: object) -> Base:
    config: dict[str, object] = {**LAYOUT, "head_dim": 4, "vocab_size": 48, "model_type": kind, **changes}
    return describe_base(
        "/base", "owner/Tiny", {**config, "architectures": [architecture]} if architecture else config
    )


def nested(architecture: str, kind: str = "qwen2") -> Base:
    text = {**LAYOUT, "vocab_size": 48, "model_type": kind}
    return describe_base("/base", "owner/Tiny", {"architectures": [architecture], "text_config": text})


def problem(folder: Path, on: Base) -> str:
    with pytest.raises(ConfigError) as caught:
        check_adapter("naming", folder, on)
    return str(caught.value)


def moved(prefix: str) -> Shapes:
    return {
        name.replace("base_model.model.model.", f"{PREFIX}{prefix}"): shape for name, shape in GOOD.items()
    }


@pytest.mark.parametrize("kind", ["llama", "qwen3", "granite", "exaone4", "qwen3_moe", "mixtral"])
def test_head_as_peft_saves_it_is_taken_where_the_engine_serves_it(kind: str, tmp_path: Path) -> None:
    folder = adapter(
        tmp_path / "a", {**GOOD, **HEAD, **SAVED_BESIDE}, {"target_modules": ["q_proj", "lm_head"]}
    )
    assert check_adapter("naming", folder, base(kind)).warnings == ()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("qwen2", "Qwen2ForCausalLM"),
        ("mistral", "MistralForCausalLM"),
        ("gemma", "GemmaForCausalLM"),
        ("gemma2", "Gemma2ForCausalLM"),
        ("gemma3_text", "Gemma3ForCausalLM"),
        ("gpt_oss", "GptOssForCausalLM"),
    ],
)
def test_head_is_refused_with_the_class_that_has_none(kind: str, name: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", {**GOOD, **HEAD}, {"target_modules": ["q_proj", "lm_head"]})
    assert f"trains lm_head, which the engine's class {name} serves no LoRA for" in problem(
        folder, base(kind)
    )
    assert check_adapter("naming", adapter(tmp_path / "b"), base(kind)).rank == 8


@pytest.mark.parametrize(("rows", "mark"), [(49, "49 x 8"), (40, "40 x 8")])
def test_head_of_another_vocabulary_is_refused(rows: int, mark: str, tmp_path: Path) -> None:
    shapes = {**HEAD, f"{PREFIX}lm_head.lora_B.weight": (rows, 8)}
    folder = adapter(tmp_path / "a", shapes, {"target_modules": ["lm_head"]})
    assert f"is {mark}, the base needs 48 x 8" in problem(folder, base("llama"))


def test_head_of_a_vocabulary_over_the_engines_bound_is_refused(tmp_path: Path) -> None:
    shapes = {**HEAD, f"{PREFIX}lm_head.lora_B.weight": (258_049, 8)}
    folder = adapter(tmp_path / "a", shapes, {"target_modules": ["lm_head"]})
    assert "takes 258048 at most" in problem(folder, base("llama", vocab_size=258_049))


def test_embedding_is_taken_where_the_engine_serves_it(tmp_path: Path) -> None:
    shapes: Shapes = {
        f"{PREFIX}model.embed_tokens.lora_embedding_A": (8, 48),
        f"{PREFIX}model.embed_tokens.lora_embedding_B": (16, 8),
        f"{PREFIX}model.embed_tokens.base_layer.weight": (48, 16),
    }
    folder = adapter(tmp_path / "a", shapes, {"target_modules": ["embed_tokens"]})
    assert check_adapter("naming", folder, base("llama")).warnings == ()
    assert "trains embed_tokens, which the engine's class Qwen2ForCausalLM" in problem(folder, base("qwen2"))
    assert "is 8 x 48, the base needs 8 x 50" in problem(folder, base("llama", vocab_size=50))


@pytest.mark.parametrize("target", [None, [], ["q_proj"]])
def test_fused_experts_are_taken_where_the_engine_takes_them_together(target: object, tmp_path: Path) -> None:
    shapes = {**FUSED, **(GOOD if target else {})}
    folder = adapter(tmp_path / "a", shapes, {**PARAMETERS, "target_modules": target})
    assert check_adapter("naming", folder, base("gpt_oss", num_local_experts=4)).warnings == ()


def test_fused_experts_with_ranks_of_their_own(tmp_path: Path) -> None:
    changes: dict[str, object] = {
        **PARAMETERS,
        "r": 4,
        "rank_pattern": {"mlp.experts.gate_up_proj": 8, "experts.down_proj": 8},
    }
    check_adapter("naming", adapter(tmp_path / "a", FUSED, changes), base("gpt_oss", num_local_experts=4))


def test_fused_experts_of_todays_peft_are_taken_where_the_engine_takes_both_forms(tmp_path: Path) -> None:
    # What peft (0.21) with transformers 5 makes of target_modules: gate and up are one, of twice the rank.
    pattern = {r".*\.gate_up_proj": 8}
    shapes = {**FUSED, f"{EXPERT}.lora_A.weight": (16, 32), f"{EXPERT}.lora_B.weight": (16, 16)}
    changes = {**PARAMETERS, "target_modules": [], "r": 4, "rank_pattern": pattern, "alpha_pattern": pattern}
    on = base("qwen3_moe", num_experts=4, moe_intermediate_size=32)
    assert check_adapter("naming", adapter(tmp_path / "a", shapes, changes), on).rank == 8


@pytest.mark.parametrize(("layer", "side"), [(0, 32), (2, 16)])
def test_attention_that_the_engine_calls_otherwise_is_held_too(layer: int, side: int, tmp_path: Path) -> None:
    name = f"{PREFIX}model.layers.{layer}.self_attn.q_proj"
    shapes: Shapes = {f"{name}.lora_A.weight": (8, 16), f"{name}.lora_B.weight": (side, 8)}
    said = problem(adapter(tmp_path / "a", shapes), base("gpt_oss"))
    assert "the base needs" in said


def test_fused_experts_that_the_engine_would_refuse(tmp_path: Path) -> None:
    whole = adapter(tmp_path / "a", FUSED, PARAMETERS)
    assert "rank 8 times 5 experts, 40" in problem(whole, base("gpt_oss", num_local_experts=5))
    single = problem(whole, base("mixtral", num_local_experts=4))
    assert "which the engine's class MixtralForCausalLM takes one by one" in single
    down = {name: shape for name, shape in FUSED.items() if "base_layer" not in name}
    half = problem(adapter(tmp_path / "b", down, PARAMETERS), base("gpt_oss", num_local_experts=4))
    assert "takes gate_up_proj and down_proj of the experts together" in half


@pytest.mark.parametrize(
    ("architecture", "prefix"),
    [
        ("Qwen2_5_VLForConditionalGeneration", "model.language_model."),
        ("Qwen2_5_VLForConditionalGeneration", "model."),
        ("Qwen3VLForConditionalGeneration", "model.language_model."),
        ("Gemma3ForConditionalGeneration", "model.language_model."),
        ("Gemma3ForConditionalGeneration", "language_model.model."),
        ("Mistral3ForConditionalGeneration", "model."),
    ],
)
def test_text_adapter_whose_names_the_engine_finds_is_taken(
    architecture: str, prefix: str, tmp_path: Path
) -> None:
    assert (
        check_adapter("naming", adapter(tmp_path / "a", moved(prefix)), nested(architecture)).warnings == ()
    )


@pytest.mark.parametrize(
    ("architecture", "prefix"),
    [
        ("Qwen3VLForConditionalGeneration", "model.text_model."),
        ("Gemma3ForConditionalGeneration", "model.text_model."),
        ("LlavaForConditionalGeneration", "model.text_model."),
        ("Qwen2_5_VLForConditionalGeneration", "model.visual."),
    ],
)
def test_adapter_that_would_act_on_nothing_is_refused(architecture: str, prefix: str, tmp_path: Path) -> None:
    said = problem(adapter(tmp_path / "a", moved(prefix)), nested(architecture))
    assert f"acts on nothing here: the engine's class {architecture} takes LoRA under language_model" in said


def test_towers_that_stay_without_effect_are_named(tmp_path: Path) -> None:
    shapes = {**moved("model.language_model."), **moved("model.visual.blocks.")}
    folder = adapter(tmp_path / "a", shapes)
    (warning,) = check_adapter("naming", folder, nested("Qwen2_5_VLForConditionalGeneration")).warnings
    assert "acts on 1 of its 2 modules" in warning
    assert "model.visual.blocks" in warning


def test_shapes_inside_a_larger_model_are_held_too(tmp_path: Path) -> None:
    shapes = {
        name: tuple(12 if side == 16 else side for side in shape) for name, shape in moved("model.").items()
    }
    said = problem(adapter(tmp_path / "a", shapes), nested("Qwen2_5_VLForConditionalGeneration"))
    assert "8 x 12, the base needs 8 x 16" in said


def test_numbers_that_a_config_leaves_to_its_class_are_the_classs(tmp_path: Path) -> None:
    text = {"model_type": "gemma3_text", "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 32}
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": {**text, "num_attention_heads": 2},
    }
    prefix = f"{PREFIX}model.language_model.layers.0.self_attn"
    shapes: Shapes = {
        f"{prefix}.q_proj.lora_A.weight": (8, 16),
        f"{prefix}.q_proj.lora_B.weight": (512, 8),  # 2 heads of 256
        f"{prefix}.k_proj.lora_A.weight": (8, 16),
        f"{prefix}.k_proj.lora_B.weight": (1024, 8),  # 4 of them
    }
    folder = adapter(tmp_path / "a", shapes, {"target_modules": ["q_proj", "k_proj"]})
    assert check_adapter("naming", folder, describe_base("/base", "", config)).warnings == ()


def test_vision_languages_adapter_on_a_base_of_text_alone_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", moved("model.language_model."))
    assert "text alone" in problem(folder, base("deepseek_v2", "DeepseekV2ForCausalLM"))
    assert check_adapter("naming", folder, base("gemma4_text", "Gemma4ForCausalLM")).rank == 8


@pytest.mark.parametrize("kind", ["qwen3_moe", "new", "phi3"])
def test_another_bases_width_is_refused_though_no_name_tells(kind: str, tmp_path: Path) -> None:
    unnamed = describe_base("/base", "", {**LAYOUT, "model_type": kind, "hidden_size": 64})
    folder = adapter(tmp_path / "a", GOOD, {"base_model_name_or_path": "owner/not-in-the-cache"})
    assert "train it on this base" in problem(folder, unnamed)


def test_base_whose_class_takes_no_lora_is_named(tmp_path: Path) -> None:
    said = problem(adapter(tmp_path / "a"), base("gpt2", "GPT2LMHeadModel"))
    assert "class GPT2LMHeadModel, which takes no LoRA" in said


def test_what_was_excluded_on_purpose_is_no_warning(tmp_path: Path) -> None:
    changes: dict[str, object] = {"target_modules": ["q_proj", "k_proj"], "exclude_modules": r".*\.k_proj"}
    assert check_adapter("naming", adapter(tmp_path / "a", GOOD, changes), base("llama")).warnings == ()
