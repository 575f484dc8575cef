"""What the tensors of an adapter are called, and what the names of others tell about how they came."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from launch.base.safetensors_header import Tensor
from launch.machine.files import Unfit, shorten

LORA_TENSOR = re.compile(
    r"^(?:base_model\.model\.)*(?P<module>.+)\."  # twice of what peft wrapped twice: vLLM takes each away
    r"(?:lora_(?P<side>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))$"
)
LEFT_OUT = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")
"""The base's own vocabulary: peft saves it beside a LoRA of it, and vLLM leaves it out."""
WHOLE_VOCABULARY = re.compile(r"(^|\.)(lm_head|embed_tokens|embed_in|embed_out|wte)\.(weight|bias)$")
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""What torch.compile, FSDP and activation checkpointing put into names."""

VARIANTS = (
    (r"lora_magnitude_vector", "DoRA's magnitude vectors", "train it with use_dora: false"),
    (r"lora_diag", "KaSA's singular values", "train it without kasa_config"),
    (r"lora_monteclora|monte_?clora", "MonteCLoRA's samplers", "train it without monteclora_config"),
    (r"lora_(?:E|ranknum)\b", "AdaLoRA's rank allocation", "train a plain LoRA"),
    (r"lora_[AB]\.(?:\w+\.)?bias$", "LoRA biases", "train it with lora_bias: false"),
    (
        r"lora_velora",
        "VeLoRA's state, which its training alone uses",
        "leave such tensors out of the file, or train it without velora_config",
    ),
    (r"trainable_tokens", "single tokens' embeddings", "train without trainable_token_indices"),
    (r"vera_lambda|vera_[AB]", "VeRA's vectors", "train a plain LoRA"),
    (r"ia3_l", "IA3's vectors", "train a plain LoRA"),
    (
        r"hada_|lokr_|oft_|boft_|prompt_embeddings|vblora_|fourierft_|randlora_",
        "another method's",
        "train a plain LoRA",
    ),
    (r"lora_(?:up|down)\.weight$|^lora_(?:unet|te)|\.alpha$", "kohya's names", "convert it to peft's format"),
    (r"lora_linear_layer|\.lora\.(?:up|down)\.", "diffusers' old names", "convert it to peft's format"),
    (
        r"\.lora_[ab]$",
        "MLX's names",
        "convert it: transpose each lora_a and lora_b, name them lora_A.weight and lora_B.weight, and write "
        "r and lora_alpha = scale x r into a peft adapter_config.json",
    ),
)
FOREIGN = tuple((re.compile(pattern), what, mend) for pattern, what, mend in VARIANTS)
NAMED_ADAPTER = re.compile(r"\.lora_(?:embedding_)?[AB]\.(?!weight$|bias$)\w+(?:\.weight)?$")


@dataclass(frozen=True)
class LoraTensor:
    """One of a pair, as its name tells."""

    name: str
    module: str  # as peft names it, without base_model.model.
    side: str  # A or B
    embedding: bool
    """Of an embedding, whose lora_A has a column for each entry of the vocabulary."""
    shape: tuple[int, ...]

    @property
    def twin(self) -> str:
        other = {"A": "B", "B": "A"}[self.side]
        if self.embedding:
            return f"{self.name.removesuffix(self.side)}{other}"
        return f"{self.name.removesuffix(f'{self.side}.weight')}{other}.weight"


def read_names(tensors: Mapping[str, Tensor]) -> list[LoraTensor]:
    """The adapter's LoRA tensors, in the file's order. Raises Unfit for what the engine cannot read."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(LEFT_OUT)}
    if not kept:
        raise Unfit("holds no tensors; save the adapter again")
    empty = next((name for name, one in kept.items() if 0 in one.shape and LORA_TENSOR.match(name)), None)
    if empty is not None:
        raise Unfit(
            f"has {shorten(empty)} without any element: the weights were not gathered when it was saved "
            "(DeepSpeed ZeRO-3); save it with stage3_gather_16bit_weights_on_model_save: true"
        )
    return [_read(name, tensor) for name, tensor in kept.items()]


def _read(name: str, tensor: Tensor) -> LoraTensor:
    match = LORA_TENSOR.match(name)
    if match is None:
        raise Unfit(_explain(name))
    wrapper = next((one for one in WRAPPERS if one in name.split(".")), None)
    if wrapper is not None:
        raise Unfit(
            f"has {shorten(name)}: {wrapper} is a training wrapper's, which the engine does not find in the "
            "base; save the unwrapped model with save_pretrained"
        )
    side, embedding = match["side"] or match["embedding"], match["embedding"] is not None
    return LoraTensor(name, match["module"], side, embedding, tensor.shape)


def _explain(name: str) -> str:
    """What a tensor is that is none of LoRA's, and what to do."""
    shown = shorten(name)
    for pattern, what, mend in FOREIGN:  # the first that is found counts
        if pattern.search(name):
            return f"has {shown}, {what}, which the engine cannot serve; {mend}"
    if NAMED_ADAPTER.search(name):
        return (
            f"has {shown}, a name with the adapter's own in it: it was saved without peft's save_pretrained; "
            "save it again with that"
        )
    if WHOLE_VOCABULARY.search(name):
        return (
            f"has {shown}, the whole vocabulary: it was resized, or save_embedding_layers was on, and the "
            "engine serves the base's own; where no token was added, save it again with "
            "save_embedding_layers=False"
        )
    return (
        f"has {shown}, which is no lora_A or lora_B weight but a whole module of the base (modules_to_save, "
        "or one left unfrozen), which the engine cannot serve; train without it, and save it again"
    )
