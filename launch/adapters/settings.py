"""adapter_config.json as far as the engine's behaviour hangs on it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config.document import BaseConfig
from gateway.errors import ConfigError
from launch.machine.files import Unfit, shorten

ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM 0.32, vllm/config/lora.py, MaxLoRARanks
# These leave the base's weights alone. vLLM 0.32 takes lora_ga too, but peft (0.21) changes the base when
# such a training begins, and an engine has the base as it was.
PLAIN_INITS = {"gaussian", "eva", "orthogonal", "mica"}
REFUSED = {
    "use_dora": "is a DoRA adapter, which the engine cannot serve; train it with use_dora: false",
    "modules_to_save": "saves whole modules beside LoRA, which the engine cannot serve; train without them",
    "lora_bias": "trains LoRA biases, which the engine cannot serve; train with lora_bias: false",
    "layer_replication": "replicates layers, which the engine cannot serve; train on the base as it is",
    "alora_invocation_tokens": "is an Activated LoRA, which the engine cannot serve; train a plain LoRA",
    "trainable_token_indices": "trains single tokens' embeddings, which the engine cannot serve; "
    "train without trainable_token_indices",
    "kasa_config": "is a KaSA adapter, which changes the base too and which the engine cannot serve; "
    "train it without kasa_config",
    "monteclora_config": "is a MonteCLoRA adapter, which the engine cannot serve; train a plain LoRA",
    "use_bdlora": "is a block-diagonal LoRA, which the engine cannot serve; train a plain LoRA",
    "arrow_config": "routes among other adapters (Arrow), which the engine cannot serve; "
    "serve each of those as a task of its own",
    "use_qalora": "is a QALoRA adapter, which the engine cannot serve; train a plain LoRA",
}
WITHOUT_TEXT = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
"""peft's tasks with a head of their own, which it saves whole."""


@dataclass(frozen=True)
class Settings:
    """What was read, and found servable."""

    document: Mapping[str, object]
    rank: int
    """r, where rank_pattern says nothing else."""
    largest_rank: int
    rank_pattern: Mapping[str, object]
    alpha_pattern: Mapping[str, object]

    @property
    def trained_on(self) -> str:
        """The base's name at training, or empty."""
        name = self.document.get("base_model_name_or_path")
        return name if isinstance(name, str) else ""


def fixed_rank(settings: BaseConfig) -> int | None:
    """The rank that the engine is to hold; None where that follows from the adapters. Raises ConfigError."""
    limit = settings.max_lora_rank
    if limit == "auto" or limit in ENGINE_RANKS:
        return None if limit == "auto" else limit
    ranks = ", ".join(map(str, ENGINE_RANKS))
    raise ConfigError("base.max_lora_rank", limit, f"must be auto or one of {ranks}")


def read_settings(document: object, rank_limit: int | None) -> Settings:
    """Check a parsed adapter_config.json. Raises Unfit."""
    if not isinstance(document, dict):
        raise Unfit("is no JSON object; save the adapter again with peft")
    _refuse_unservable(document)
    rank_pattern, alpha_pattern = _table(document, "rank_pattern"), _table(document, "alpha_pattern")
    ranks = [_rank(rank) for rank in (document.get("r"), *rank_pattern.values())]
    if document.get("lora_alpha") is None:
        raise Unfit("has no lora_alpha, which scales its effect; write the one that it was trained with")
    for alpha in (document["lora_alpha"], *alpha_pattern.values()):
        if not _is_number(alpha):
            raise Unfit("has a lora_alpha or alpha_pattern that is no number over 0; save the adapter again")
    if "target_modules" not in document:  # empty is enough where the weights tell
        raise Unfit("has no target_modules, which the engine wants; save the adapter again with peft")
    largest = max(ranks)
    _check_rank(largest, rank_limit)
    return Settings(document, ranks[0], largest, rank_pattern, alpha_pattern)


def as_engine_reads(document: object, raw: bytes) -> bytes:
    """The settings' bytes for the engine, which does not take a bias of null: to peft that is "none"."""
    if not isinstance(document, dict) or document.get("bias", "none") is not None:
        return raw
    return json.dumps({**document, "bias": "none"}, indent=2).encode()


def _refuse_unservable(document: Mapping[str, object]) -> None:
    kind = document.get("peft_type")
    if not kind:
        raise Unfit(
            'has no peft_type, so its kind is not known; write "peft_type": "LORA" in it if it is a LoRA'
        )
    if kind != "LORA" and isinstance(kind, str) and kind.upper() == "LORA":
        raise Unfit(
            f'has the peft_type {shorten(kind)!r}, which peft spells otherwise; write "peft_type": "LORA"'
        )
    if kind != "LORA":
        raise Unfit(f"is a {shorten(kind)} adapter (its peft_type); only LORA can be served")
    # Before REFUSED: with modules_to_save peft keeps such a task's head, and this says more.
    if document.get("modules_to_save") and (task := document.get("task_type")) in WITHOUT_TEXT:
        raise Unfit(f"was trained for {task}, whose answer is no text; train it with task_type CAUSAL_LM")
    for name, reason in REFUSED.items():
        if document.get(name):
            raise Unfit(reason)
    bias = document.get("bias")
    if bias not in (None, "none"):
        raise Unfit(f"was trained with bias: {shorten(bias)}; the engine serves bias: none only")
    init = document.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in PLAIN_INITS:
        raise Unfit(
            f"was initialised by {shorten(init)}, which changes the base; "
            "convert it to plain LoRA, with save_pretrained(path_initial_model_for_weight_conversion=…)"
        )


def _table(document: Mapping[str, object], key: str) -> Mapping[str, object]:
    table = document.get(key) or {}
    if not isinstance(table, dict):
        raise Unfit(f"has a {key} that is no table of modules; save the adapter again")
    return table


def _rank(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Unfit("has an r or rank_pattern that is no positive whole number; save the adapter again")
    return value


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < 1e9 and math.isfinite(value)


def _check_rank(rank: int, limit: int | None) -> None:
    if rank > ENGINE_RANKS[-1]:
        raise Unfit(
            f"has rank {shorten(rank)}; the engine's largest is {ENGINE_RANKS[-1]}; train a smaller one"
        )
    if limit is not None and rank > limit:
        wanted = next(one for one in ENGINE_RANKS if one >= rank)
        raise Unfit(
            f"has rank {rank}, over base.max_lora_rank {limit} that the engine runs with; "
            f"set it to {wanted} and start again, or train a smaller one"
        )
