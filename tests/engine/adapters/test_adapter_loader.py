"""What vLLM's own loader takes, our checks take; what it refuses, they refuse. Without an engine.

Where they are stricter, each case says why: vLLM would load such a file and answer in silence as the base
does, or fail later, with the request.
"""

from __future__ import annotations

import importlib
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gateway.errors import ConfigError
from launch.adapters.check import check_adapter
from launch.adapters.store import AdapterStore
from launch.base.lora_shapes import Base, describe_base
from launch.base.served_classes import served_by

HIDDEN, INNER, VOCABULARY, RANK, EXPERTS = 16, 32, 48, 4, 3
LAYOUT: dict[str, object] = {
    "num_hidden_layers": 2,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "vocab_size": VOCABULARY,
}
# model_type → where vLLM's class for it is, and the linear layers that it takes LoRA for.
CLASSES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "mistral": ("mistral", "MistralForCausalLM"),
    "gemma": ("gemma", "GemmaForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
    "gpt_oss": ("gpt_oss", "GptOssForCausalLM"),
    "qwen3_moe": ("qwen3_moe", "Qwen3MoeForCausalLM"),
}
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
PREFIX = "base_model.model."
Q = f"{PREFIX}model.layers.0.self_attn.q_proj"
EXPERT = f"{PREFIX}model.layers.0.mlp.experts"
Shapes = dict[str, tuple[int, ...]]


def pair(module: str, inputs: int, outputs: int, rank: int = RANK) -> Shapes:
    return {f"{module}.lora_A.weight": (rank, inputs), f"{module}.lora_B.weight": (outputs, rank)}


PLAIN = pair(Q, HIDDEN, HIDDEN)
HEAD = pair(f"{PREFIX}lm_head", HIDDEN, VOCABULARY)
EMBEDDING: Shapes = {
    f"{PREFIX}model.embed_tokens.lora_embedding_A": (RANK, VOCABULARY),
    f"{PREFIX}model.embed_tokens.lora_embedding_B": (HIDDEN, RANK),
}
FUSED = {
    **pair(f"{EXPERT}.base_layer", HIDDEN, 2 * INNER, RANK * EXPERTS),
    **pair(EXPERT, INNER, HIDDEN, RANK * EXPERTS),
}


@dataclass(frozen=True)
class Case:
    name: str
    shapes: Shapes
    changes: Mapping[str, object] = field(default_factory=dict)
    stricter: str = ""
    """Why our checks refuse what the loader alone takes."""
    kinds: tuple[str, ...] = tuple(kind for kind in CLASSES if kind not in ("gpt_oss", "qwen3_moe"))
    raw: bytes | None = None
    """adapter_config.json as it stands there."""
    gentler: str = ""
    """Why our checks take what the loader alone refuses."""


TENSORS = [
    Case("plain", PLAIN),
    Case("without base_model.model.", {name.removeprefix(PREFIX): shape for name, shape in PLAIN.items()}),
    Case("the head alone", HEAD, {"target_modules": ["lm_head"]}),
    Case("the head beside others", {**PLAIN, **HEAD}),
    Case(
        "the head as peft saves it",
        {**HEAD, f"{PREFIX}lm_head.base_layer.weight": (VOCABULARY, HIDDEN)},
        {"target_modules": ["lm_head"]},
    ),
    Case("the embedding", {**PLAIN, **EMBEDDING}),
    Case(
        "the embedding as peft saves it",
        {**EMBEDDING, f"{PREFIX}model.embed_tokens.base_layer.weight": (VOCABULARY, HIDDEN)},
        {"target_modules": ["embed_tokens"]},
    ),
    Case("another embedding", {**PLAIN, f"{PREFIX}model.embed_tokens.lora_embedding_A": (RANK, 49)}),
    Case("a resized vocabulary", {**PLAIN, f"{PREFIX}lm_head.weight": (VOCABULARY, HIDDEN)}),
    Case("an embedding saved whole", {**PLAIN, f"{PREFIX}model.embed_tokens.weight": (VOCABULARY, HIDDEN)}),
    Case("a norm saved whole", {**PLAIN, f"{PREFIX}model.norm.weight": (HIDDEN,)}),
    Case("a matrix saved whole", {**PLAIN, f"{Q}.base_layer.weight": (HIDDEN, HIDDEN)}),
    Case("magnitude vectors", {**PLAIN, f"{Q}.lora_magnitude_vector": (HIDDEN,)}),
    Case("magnitude vectors, newer", {**PLAIN, f"{Q}.lora_magnitude_vector.weight": (HIDDEN,)}),
    Case("KaSA", {**PLAIN, f"{Q}.lora_diag": (RANK,)}),
    Case("LoRA biases", {**PLAIN, f"{Q}.lora_B.bias": (HIDDEN,)}),
    Case(
        "single tokens",
        {**PLAIN, f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta": (1, HIDDEN)},
    ),
    Case("the adapter's name within", {f"{Q}.lora_A.default.weight": (RANK, HIDDEN)}),
    Case("MLX's names", {f"{Q}.lora_a": (HIDDEN, RANK), f"{Q}.lora_b": (RANK, HIDDEN)}),
    Case("kohya's names", {"lora_unet_q.lora_down.weight": (RANK, HIDDEN), "lora_unet_q.alpha": (1,)}),
    Case("a module nobody has", pair(f"{PREFIX}model.layers.0.self_attn.c_attn", HIDDEN, HIDDEN)),
    Case(
        "fused experts",
        FUSED,
        {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]},
        kinds=("gpt_oss",),
    ),
    Case(
        "fused experts and attention",
        {**FUSED, **PLAIN},
        {"target_parameters": ["mlp.experts.down_proj"]},
        kinds=("gpt_oss",),
    ),
    Case("fused experts and nothing named", FUSED, {"target_modules": []}, kinds=("gpt_oss",)),
    Case(
        "fused experts, half",
        pair(EXPERT, INNER, HIDDEN, RANK * EXPERTS),
        stricter="the manager asserts both",
        kinds=("gpt_oss",),
    ),
    Case("fused experts where they are single, too", FUSED, kinds=("qwen3_moe",)),
    Case("the prefix twice", {f"{PREFIX}{name}": shape for name, shape in PLAIN.items()}),
    Case(
        "a layer that is not there",
        pair(f"{PREFIX}model.layers.9.self_attn.q_proj", HIDDEN, HIDDEN),
        stricter="it would be left out in silence",
        kinds=tuple(CLASSES),
    ),
    Case(
        "another model's layers",
        pair(f"{PREFIX}model.language_model.layers.0.self_attn.q_proj", HIDDEN, HIDDEN),
        stricter="it would be left out in silence",
    ),
    Case(
        "a compiled model's names",
        pair(f"{PREFIX}_orig_mod.model.layers.0.self_attn.q_proj", HIDDEN, HIDDEN),
        stricter="it would be left out in silence",
    ),
    Case("half a pair", {f"{Q}.lora_A.weight": (RANK, HIDDEN)}, stricter="activating it fails"),
    Case("no element", {**PLAIN, f"{Q}.lora_A.weight": (0,)}, stricter="activating it fails"),
    Case(
        "a head of another vocabulary",
        pair(f"{PREFIX}lm_head", HIDDEN, 40),
        stricter="the rest would stay the base's",
    ),
    Case("a head that is too large", pair(f"{PREFIX}lm_head", HIDDEN, 49), stricter="activating it fails"),
    Case("another width", pair(Q, 8, 8), stricter="it would act on a part in silence", kinds=tuple(CLASSES)),
]
SETTINGS: list[tuple[str, dict[str, object], str]] = [
    ("nothing named", {"target_modules": []}, ""),
    ("null named", {"target_modules": None}, ""),
    ("all-linear", {"target_modules": "all-linear"}, ""),
    ("a pattern", {"target_modules": r".*\.(q|v)_proj"}, ""),
    ("excluded", {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["k_proj"]}, ""),
    ("rsLoRA", {"use_rslora": True}, ""),
    ("rank_pattern", {"r": 8, "rank_pattern": {"q_proj": RANK}}, ""),
    ("rank_pattern null", {"rank_pattern": None, "alpha_pattern": None}, ""),
    ("alpha as a float", {"lora_alpha": 0.5}, ""),
    ("alpha_pattern", {"alpha_pattern": {"q_proj": 3}}, ""),
    ("gaussian", {"init_lora_weights": "gaussian"}, ""),
    ("EVA in capitals", {"init_lora_weights": "EVA"}, ""),
    ("orthogonal", {"init_lora_weights": "orthogonal"}, ""),
    ("PiSSA", {"init_lora_weights": "pissa_niter_16"}, ""),
    ("OLoRA", {"init_lora_weights": "olora"}, ""),
    ("CorDA", {"init_lora_weights": "corda"}, ""),
    ("LoftQ", {"init_lora_weights": "loftq"}, ""),
    ("DoRA", {"use_dora": True}, ""),
    ("bias", {"bias": "lora_only"}, ""),
    ("lora_bias", {"lora_bias": True}, ""),
    ("whole modules", {"modules_to_save": ["lm_head"]}, ""),
    ("aLoRA", {"alora_invocation_tokens": [1, 2]}, ""),
    ("replicated", {"layer_replication": [[0, 1]]}, ""),
    ("BD-LoRA", {"use_bdlora": {"a": 1}}, ""),
    ("QALoRA", {"use_qalora": True}, ""),
    ("rank 0", {"r": 0}, ""),
    ("rank over the engine's", {"r": 32}, ""),
    ("no alpha", {"lora_alpha": None}, ""),
    ("no kind", {"peft_type": None}, "peft itself could not read it"),
    ("misspelt kind", {"peft_type": "lora"}, "peft itself could not read it"),
    ("another rank", {"r": 8}, "its scale would be another's"),
]


def cases() -> Iterator[Case]:
    yield from TENSORS
    for name, changes, stricter in SETTINGS:
        yield Case(f"settings: {name}", PLAIN, changes, stricter)
    plain = json.dumps(settings({}))
    yield Case("settings: a key too few", PLAIN, raw=plain.replace('"target_modules"', '"targets"').encode())
    rewritten = "the engine reads the copy, which is UTF-8 without a mark"
    yield Case("settings: BOM", PLAIN, raw=plain.encode("utf-8-sig"), gentler=rewritten)
    yield Case("settings: UTF-16", PLAIN, raw=plain.encode("utf-16"), gentler=rewritten)
    yield Case(
        "settings: a pointer", PLAIN, raw=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )


def settings(changes: Mapping[str, object]) -> dict[str, object]:
    plain: dict[str, object] = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["q_proj"]}
    kinds = {"target_modules": None} if "target_parameters" in changes else {}
    return {**plain, **kinds, **changes}


def write(folder: Path, case: Case) -> Path:
    folder.mkdir()
    raw = json.dumps(settings(case.changes)).encode() if case.raw is None else case.raw
    (folder / "adapter_config.json").write_bytes(raw)
    save_file(
        {name: torch.full(shape, 0.5) for name, shape in case.shapes.items()},
        folder / "adapter_model.safetensors",
    )
    return folder


def base_of(kind: str) -> Base:
    config = {**LAYOUT, "model_type": kind, "architectures": [CLASSES[kind][1]]}
    experts = {"num_local_experts": EXPERTS, "num_experts": EXPERTS, "moe_intermediate_size": INNER}
    return describe_base("/base", "", {**config, **experts} if kind in ("gpt_oss", "qwen3_moe") else config)


def vllm_class(kind: str) -> Any:
    module, name = CLASSES[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(f"vllm.model_executor.models.{module}"), name)


def loader_says(folder: Path, kind: str) -> str:
    """Empty where vLLM's loader takes it; as WorkerLoRAManager._load_adapter calls it."""
    with warnings.catch_warnings():  # torch warns of its own code
        warnings.simplefilter("ignore")
        # Not while tests are collected: the engine starts after that, and so meanwhile.
        from vllm.config.lora import LoRAConfig
        from vllm.lora.lora_model import LoRAModel
        from vllm.lora.peft_helper import PEFTHelper
    served = vllm_class(kind)
    expected = (
        LINEAR | set(served.embedding_modules) | ({"experts"} if kind in ("gpt_oss", "qwen3_moe") else set())
    )
    mapper = getattr(served, "hf_to_vllm_mapper", None)
    try:
        helper = PEFTHelper.from_local_dir(str(folder), 128)
        helper.validate_legal(LoRAConfig(max_lora_rank=16, max_loras=1))
        LoRAModel.from_local_checkpoint(
            str(folder),
            expected,
            peft_helper=helper,
            lora_model_id=1,
            device="cpu",
            dtype=torch.float32,
            model_vocab_size=VOCABULARY,
            weights_mapper=None if mapper is None else mapper.get_rename_mapper(),
            skip_prefixes=served.lora_skip_prefixes,
        )
    except Exception as error:  # whatever it is, the adapter is not served
        return f"{type(error).__name__}: {error}"
    return ""


def checks_say(folder: Path, kind: str) -> str:
    try:
        check_adapter("task", folder, base_of(kind), 16)
    except ConfigError as error:
        return str(error)
    return ""


ALL = [(case, kind) for case in cases() for kind in case.kinds]


@pytest.mark.parametrize(("case", "kind"), ALL, ids=[f"{case.name}-{kind}" for case, kind in ALL])
def test_checks_and_the_loader_agree(case: Case, kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "adapter", case)
    loader, ours = loader_says(folder, kind), checks_say(folder, kind)
    if case.gentler:
        assert loader
        assert not ours
    elif case.stricter:
        assert ours
    elif loader:
        assert ours, f"the engine refuses it: {loader}"
    else:
        assert not ours, f"the engine takes it: {ours}"


def test_loader_finds_a_language_models_own_names_in_the_larger_model(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm.lora.lora_model import LoRAModel
        from vllm.lora.peft_helper import PEFTHelper
        from vllm.model_executor.models.utils import WeightsMapper
    text = {**LAYOUT, "model_type": "qwen3_vl_text"}
    on = describe_base(
        "/base", "", {"architectures": ["Qwen3_5ForConditionalGeneration"], "text_config": text}
    )
    kept = AdapterStore(tmp_path / "kept").take("task", write(tmp_path / "adapter", Case("", PLAIN)), on)
    assert on.served is not None
    found = LoRAModel.from_local_checkpoint(
        str(kept.path),
        LINEAR,
        peft_helper=PEFTHelper.from_local_dir(str(kept.path), 128),
        lora_model_id=1,
        device="cpu",
        weights_mapper=WeightsMapper(orig_to_new_prefix=dict(on.served.prefixes)),
    )
    assert list(found.loras) == ["language_model.model.layers.0.self_attn.q_proj"]


@pytest.mark.parametrize("kind", CLASSES)
def test_table_says_what_the_class_says(kind: str) -> None:
    served, real = served_by({"architectures": [CLASSES[kind][1]]}), vllm_class(kind)
    assert served is not None
    assert served.vocabulary == frozenset(real.embedding_modules)
    assert served.fused_experts == real.is_3d_moe_weight
    mapper = getattr(real, "hf_to_vllm_mapper", None)
    names = [
        name.rpartition(".lora_")[0].removeprefix(PREFIX) for name in itertools.chain(PLAIN, HEAD, FUSED)
    ]
    renamed = [name if mapper is None else mapper.get_rename_mapper().map_name(f"{name}.") for name in names]
    assert [served.place(name) for name in names] == [name.rstrip(".") for name in renamed]
