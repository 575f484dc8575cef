"""A program of its own: configs in, what their models are made of out; nothing is loaded.

The model's class is built on torch's meta device, where a tensor has a shape and no memory: 0.1 to 1.5 s and
under 0.5 GiB for any size. It runs apart because torch and transformers take seconds to import. Only
transformers' own classes are built: code that comes with a model (`auto_map`) is never run.

Reads a JSON list of config.json documents from stdin, writes a JSON list of skeletons
(`launch.base.shape.skeleton`) or of `{"error": "…"}` to stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from launch.base.shape.skeleton import text_part

MOST_LAYERS = 2000  # more is no model, and would take the machine's memory
MOST_EXPERTS = 100_000  # of a layer, which are one parameter
TOWERS = {
    "embed_tokens_extend",
    "visual",
    "vision_model",
    "vision_tower",
    "audio_tower",
}  # of what sees or hears
LISTED = 1024  # entries of a list worth handing over: one for each layer
ROUTERS = ("gate", "router", "gate_weight", "classifier")


def main() -> None:
    """Count every config on stdin."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    out, sys.stdout = sys.stdout, sys.stderr  # what a library prints is not part of the answer
    found = []
    for config in json.load(sys.stdin):
        try:
            found.append(skeleton(config))
        except Exception as error:  # any class of transformers may refuse its config in any way
            text = str(error).strip().splitlines() or [""]
            found.append({"error": f"{type(error).__name__}: {text[0][:200]}"})
    json.dump(found, out)


def skeleton(config: Mapping[str, Any]) -> dict[str, object]:
    """The parts of one model's decoder. Raises whatever transformers does."""
    import torch
    import transformers

    settings, tied = _settings(dict(config))
    _check_size(settings)
    with torch.device("meta"):
        model = _build(settings)
    parts = _parts(model)
    has_head = any(part["name"].endswith(("lm_head", "embed_out", "output_layer")) for part in parts)
    if not has_head and not tied:
        shape = [int(settings.hidden_size), int(settings.vocab_size)]
        parts.append({"name": "lm_head", "kind": "linear", "shape": shape, "layers": None})
    return {
        "class": type(model).__name__,
        "counted_by": f"counted by transformers {transformers.__version__}",
        "settings": {**_handed_over(settings), "tie_word_embeddings": tied},
        "parts": parts,
    }


def _settings(config: dict[str, Any]) -> tuple[Any, bool]:
    """The decoder's configuration, and whether its output layer is the embedding.

    A family that has no name here may have its architecture's.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    document = _plain(config)
    kind = document.get("model_type")
    inner = text_part(document)
    if kind not in CONFIG_MAPPING and inner is not document:
        return _settings(dict(inner))
    if kind in CONFIG_MAPPING:
        whole = CONFIG_MAPPING[kind].from_dict(document)
    else:
        whole = _named_class(document).config_class.from_dict({**document, "model_type": None})
    decoder = whole.get_text_config(decoder=True)
    nested = inner is not document or any(
        isinstance(value, dict) and "hidden_size" in value for value in document.values()
    )
    if decoder is not whole and not nested:
        decoder = type(decoder).from_dict(
            {**document, "model_type": decoder.model_type}
        )  # it is written flat
    tied = getattr(decoder, "tie_word_embeddings", getattr(whole, "tie_word_embeddings", False))
    return decoder, bool(tied)


def _named_class(document: Mapping[str, Any]) -> Any:
    import transformers

    for name in document.get("architectures") or ():
        found = getattr(transformers, str(name), None)
        if found is not None and getattr(found, "config_class", None) is not None:
            return found
    raise KeyError(f"model_type {document.get('model_type')!r} is not known to transformers")


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what would load other code, choose kernels or change how matrices are stored."""
    without = ("auto_map", "quantization_config", "compression_config", "attn_implementation")
    return {
        key: _read(value)
        for key, value in config.items()
        if key not in without and not key.startswith("_attn")
    }


def _read(value: Any) -> Any:
    """As transformers 5 reads what it writes of numbers that JSON does not have."""
    if isinstance(value, dict):
        return float(value["__float__"]) if value.keys() == {"__float__"} else _plain(value)
    return [_read(each) for each in value] if isinstance(value, list) else value


def _check_size(settings: Any) -> None:
    layers = getattr(settings, "num_hidden_layers", 0)
    experts = getattr(settings, "num_experts", 0) or getattr(settings, "num_local_experts", 0) or 0
    if not isinstance(layers, int) or layers > MOST_LAYERS or experts > MOST_EXPERTS:
        raise ValueError(f"{layers} layers of {experts} experts")


def _build(settings: Any) -> Any:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING

    settings._attn_implementation = "eager"  # another may want a package, and nothing is computed
    for known in (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING):
        if type(settings) in known:
            found = known[type(settings)]
            return (found[0] if isinstance(found, tuple | list) else found)(settings)
    return _own_class(type(settings))(settings)


def _own_class(kind: type) -> Any:
    """A decoder that only serves inside a larger model: the class beside its configuration's."""
    module = importlib.import_module(kind.__module__.replace(".configuration_", ".modeling_"))
    named = f"{kind.__name__.removesuffix('Config')}Model"  # PaddleOCR's names the whole's configuration
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and (getattr(each, "config_class", None) is kind or each.__name__ == named)
    ]
    for ending in ("ForCausalLM", "TextModel", "Model"):
        for each in found:
            if each.__name__.endswith(ending) and not each.__name__.endswith("PreTrainedModel"):
                return each
    raise KeyError(f"no decoder for {kind.__name__}")


def _parts(model: Any) -> list[dict[str, Any]]:
    """Every parameter once, those of equal layers together."""
    runs: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    once: dict[tuple[str, str, tuple[int, ...]], int] = {}
    seen: set[int] = set()
    for name, kind, shape, identity in _leaves(model):
        if identity in seen:  # tied
            continue
        seen.add(identity)
        pattern, layer = _without_layer(name)
        key = (pattern, kind, shape)
        if layer is None:
            once[key] = once.get(key, 0) + 1
        else:
            runs.setdefault(key, []).append(layer)
    parts = [_part(key, layers) for key, layers in runs.items()]
    return parts + [_part(key, None) for key, count in once.items() for _ in range(count)]


def _part(key: tuple[str, str, tuple[int, ...]], layers: list[int] | None) -> dict[str, Any]:
    return {"name": key[0], "kind": key[1], "shape": list(key[2]), "layers": layers}


def _leaves(model: Any) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """(name, kind, shape, identity) of each parameter; of a matrix the shape is (inputs, outputs).

    Experts that only hand on what they get (LongCat's) have no weights, though transformers allots them some.
    """
    routed, empty = (getattr(model.config, key, 0) or 0 for key in ("n_routed_experts", "zero_expert_num"))
    for name, module in model.named_modules():
        if not TOWERS.isdisjoint(name.split(".")):
            continue  # the engine loads the text model alone
        for key, parameter in module.named_parameters(recurse=False):
            shape = tuple(int(size) for size in parameter.shape)
            kind, shape = _kind(name, type(module).__name__, key, shape)
            if kind == "experts" and empty and shape[0] == routed + empty:
                shape = (routed, *shape[1:])
            own = name if key == "weight" else f"{name}.{key}".lstrip(".")
            yield own, kind, shape, id(parameter)


def _kind(name: str, module: str, key: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    last = name.rpartition(".")[2]
    if key == "weight" and len(shape) == 2:
        if "Embedding" in module:
            return "embedding", shape
        if module == "Conv1D":  # gpt2's, stored the other way round
            return "linear", shape
        if module.endswith("Linear") or last in ROUTERS or "Router" in module:
            return "linear", (shape[1], shape[0])
    if key == "weight" and len(shape) == 3 and module.startswith("Conv1d"):
        return "conv", (shape[2], shape[0])
    if len(shape) == 3 and (key.endswith("proj") or "expert" in name.lower()):
        return "experts", shape
    return "plain", shape


def _without_layer(name: str) -> tuple[str, int | None]:
    words = name.split(".")
    for place, word in enumerate(words):
        if word.isdigit():
            return ".".join([*words[:place], "{}", *words[place + 1 :]]), int(word)
    return name, None


def _handed_over(settings: Any) -> dict[str, object]:
    """The configuration with its defaults filled in, under the names that all families share."""
    common = (
        *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
        *("intermediate_size", "vocab_size", "max_position_embeddings", "tie_word_embeddings"),
    )
    found = {key: value for key, value in settings.to_dict().items() if _is_small(value)}
    for key in common:
        try:
            value = getattr(settings, key, None)
        except Exception:  # transformers refuses to name what differs between layers
            continue
        if value is not None and _is_small(value):
            found[key] = value
    return found


def _is_small(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= LISTED and all(_is_single(each) for each in value)
    return _is_single(value)


def _is_single(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


if __name__ == "__main__":
    main()
