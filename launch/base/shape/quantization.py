"""How a base's matrices are stored: the spellings of `quantization_config` that vLLM 0.32 loads, in bits.

Bits are those of one weight with its part of scale and zero point. Embeddings, the output layer, routers and
norms stay in the model's own type; so does whatever the configuration leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from launch.base.shape.module_names import Names, as_names
from launch.base.shape.skeleton import Part, Settings, inside, listed, text_part, whole

ROUTERS = frozenset({"gate", "router", "shared_expert_gate", "weights_proj", "classifier"})
LEFT_OUT = (
    *("ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", "exclude", "skip_modules"),
    *("llm_int8_skip_modules", "ignored_modules"),
)
HALF = 16  # bits of a scale or a zero point that is a half-precision number
FULL = 32


@dataclass(frozen=True)
class Scheme:
    """Bits of a weight, and what each matrix has beside (codebooks)."""

    bits: float
    matrix_bytes: int = 0


FP8 = Scheme(8)
MXFP4, NVFP4, MXFP8 = Scheme(4 + 8 / 32), Scheme(4 + 8 / 16), Scheme(8 + 8 / 32)
SMALL_FLOATS = {"mx_fp": MXFP4, "nv_fp": NVFP4}
"""AutoRound's `data_type`, as far as it matters."""


@dataclass(frozen=True)
class Quantization:
    """What becomes of each matrix."""

    method: str
    default: Scheme | None
    left_out: Names = field(default_factory=Names)
    rules: tuple[tuple[Names, Scheme | None], ...] = ()  # the first that names a matrix counts
    experts: Scheme | None = None  # where a mixture's experts are stored otherwise
    experts_only: bool = False
    known: bool = True
    """False where the method says nothing about size: weights are counted unquantized."""

    @property
    def bits(self) -> float:
        scheme = self.experts if self.experts_only else self.default
        return scheme.bits if scheme else HALF

    def scheme(self, part: Part, layer: int | None) -> Scheme | None:
        """None where it stays in the model's own type."""
        if part.kind not in ("linear", "experts") or part.last in ROUTERS:
            return None
        if layer is None:
            return None
        if self.experts_only and part.kind != "experts":
            return None
        for names, scheme in self.rules:
            if names.match(part.name, layer):
                return scheme
        if self.left_out.match(part.name, layer):
            return None
        return self.experts if self.experts is not None and part.kind == "experts" else self.default


def read_quantization(config: Settings) -> Quantization | None:
    """Out of a config.json, or a hf_quant_config.json under the same key; None where nothing is quantized."""
    settings = quantization_settings(config)
    if settings is None:
        return None
    method = method_of(settings)
    reader = READERS.get(method, _by_bits)
    found = reader(method, settings)
    if config.get("expert_dtype") == "fp4":  # DeepSeek-V4: fp8, its experts in four bits
        found = Quantization(found.method, found.default, found.left_out, found.rules, experts=MXFP4)
    return found


def quantization_settings(config: Settings) -> Settings | None:
    for source in (config, text_part(config)):
        for key in ("quantization_config", "compression_config"):
            found = inside(source, key)
            if found:
                return {**found, **inside(found, "quantization")}  # hf_quant_config.json
    return None


def method_of(settings: Settings) -> str:
    method = str(settings.get("quant_method") or "").lower()
    return method or ("modelopt" if "quant_algo" in settings else "compressed-tensors")


def quantized_by(method: str) -> Quantization | None:
    """By a method's name alone, as `--quantization` gives it; None where it says nothing about size."""
    plain = method.removesuffix("_marlin")
    # bitsandbytes: one float32 for 64 weights; AWQ and GPTQ as they are mostly published: groups of 128.
    known = {
        "bitsandbytes": Scheme(4 + FULL / 64),
        "awq": _grouped(4, 128),
        "gptq": _grouped(4, 128),
        "mxfp8": MXFP8,
        "nvfp4_per_token": NVFP4,
        **dict.fromkeys(("fp8", "int8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel"), FP8),
        "int8_per_channel_weight_only": FP8,
    }
    if plain == "experts_int8":
        return Quantization(plain, None, experts=FP8, experts_only=True)
    return Quantization(plain, known[plain]) if plain in known else None


def cache_type(config: Settings) -> str | None:
    """The cache's type where the checkpoint names one: vLLM's `get_kv_cache_quant_algo_string`."""
    settings = quantization_settings(config)
    if settings is None:
        return None
    if isinstance(settings.get("kv_cache_scheme"), dict):
        bits = whole(inside(settings, "kv_cache_scheme"), "num_bits", default=8)
        return {4: "nvfp4", 8: "fp8"}.get(bits)
    named = settings.get("kv_cache_quant_algo")
    return named.lower() if isinstance(named, str) and named.lower() in ("fp8", "nvfp4") else None


def _rules(named: Mapping[str, Scheme | None]) -> tuple[tuple[Names, Scheme | None], ...]:
    """One rule for each scheme: of every expert of every layer there may be tens of thousands of names."""
    alike: dict[Scheme | None, list[str]] = {}
    for name, scheme in named.items():
        alike.setdefault(scheme, []).append(name)
    return tuple((as_names(names), scheme) for scheme, names in alike.items())


def _left_out(settings: Settings) -> Names:
    return as_names([name for key in LEFT_OUT for name in listed(settings, key)])


def _grouped(bits: int, group: int, *, scale: int = HALF, zero: bool = True) -> Scheme:
    """One scale and, mostly, one zero point for a group; a group of none is a whole row."""
    return Scheme(bits + (scale + (bits if zero else 0)) / group if group > 0 else bits)


def _fp8(method: str, settings: Settings) -> Quantization:
    area = _area(settings, "weight_block_size")
    return Quantization(method, Scheme(8 + FULL / area) if area else FP8, _left_out(settings))


def _area(settings: Settings, key: str) -> int:
    """Weights of one block; 0 where there are no blocks of two sides."""
    sides = [side for side in listed(settings, key) if isinstance(side, int) and side > 0]
    return sides[0] * sides[1] if len(sides) == 2 else 0


def _by_bits(method: str, settings: Settings) -> Quantization:
    """GPTQ, AWQ, AutoRound and what else says its bits; `dynamic`, `extra_config` are of single modules."""
    bits = whole(settings, "bits", "w_bit", "nbits", "wbits")
    if not bits:
        return quantized_by(method) or Quantization(method, None, known=False)
    group = whole(settings, "group_size", "q_group_size")
    rules = tuple(_exceptions(settings, bits, group))
    scheme = SMALL_FLOATS.get(str(settings.get("data_type"))[:5]) if bits == 4 else None
    return Quantization(method, scheme or _grouped(bits, group), _left_out(settings), rules)


def _exceptions(settings: Settings, bits: int, group: int) -> Iterator[tuple[Names, Scheme | None]]:
    def scheme(own: Settings) -> Scheme | None:
        now, groups = whole(own, "bits", default=bits), whole(own, "group_size", default=group)
        return _grouped(now, groups) if now < HALF else None

    changes = inside(settings, "dynamic")
    for name in changes:  # expressions, of which the first that matches counts
        sign, text = (name[0], name[2:]) if name[:2] in ("+:", "-:") else ("+", name)
        yield as_names([f"re:{text}"]), scheme(inside(changes, name)) if sign == "+" else None
    changes = inside(settings, "extra_config")
    yield from _rules({name: scheme(inside(changes, name)) for name in changes})


def _bitsandbytes(method: str, settings: Settings) -> Quantization:
    scheme = FP8
    if settings.get("load_in_4bit") or settings.get("_load_in_4bit"):
        twice = settings.get("bnb_4bit_use_double_quant") is True
        scheme = Scheme(4 + (8 + FULL / 256 if twice else FULL) / 64)
    return Quantization(method, scheme, _left_out(settings))


def _hqq(method: str, settings: Settings) -> Quantization:
    values = inside(inside(settings, "quant_config"), "weight_quant_params") or settings
    bits, group = whole(values, "nbits", "bits", default=4), whole(values, "group_size", default=64)
    return Quantization(method, Scheme(bits + 2 * HALF / group), _left_out(settings))


def _aqlm(method: str, settings: Settings) -> Quantization:
    books = whole(settings, "num_codebooks", default=1)
    bits = whole(settings, "nbits_per_codebook", default=16)
    group = whole(settings, "in_group_size", default=8) * whole(settings, "out_group_size", default=1)
    scheme = Scheme(books * bits / group, matrix_bytes=books * 2 ** min(bits, 24) * group * 2)
    return Quantization(method, scheme, as_names(listed(settings, "linear_weights_not_to_quantize")))


def _experts_in_four(method: str, settings: Settings) -> Quantization:
    return Quantization(method, None, _left_out(settings), experts=MXFP4, experts_only=True)


def _modelopt(method: str, settings: Settings) -> Quantization:
    algorithm = str(settings.get("quant_algo") or method.removeprefix("modelopt").strip("_")).upper()
    layers = inside(settings, "quantized_layers")
    if layers:
        named = {
            name: _algorithm(str(own.get("quant_algo", "")).upper(), own)
            for name, own in layers.items()
            if isinstance(own, dict)
        }
        return Quantization(method, None, rules=_rules(named))
    scheme = _algorithm(algorithm, settings)
    if scheme is None:
        return _compressed(method, settings)
    return Quantization(method, scheme, _left_out(settings))


def _algorithm(name: str, settings: Settings) -> Scheme | None:
    for part, scheme in (("NVFP4", NVFP4), ("MXFP4", MXFP4), ("MXFP8", MXFP8)):
        if part in name:
            return scheme
    if name == "FP4":  # modelopt_fp4 says no more
        return NVFP4
    if name.startswith(("INT4", "W4")):
        return _grouped(4, whole(settings, "group_size", default=128), zero=False)
    return FP8 if name.startswith(("FP8", "INT8", "W8")) else None


def _compressed(method: str, settings: Settings) -> Quantization:
    """Groups with targets: a class (`Linear`), a name or an expression."""
    groups = inside(settings, "config_groups")
    default: Scheme | None = None
    rules: list[tuple[Names, Scheme | None]] = []
    left_out = _left_out(settings)
    for group in (inside(groups, name) for name in groups):
        if not isinstance(group.get("weights"), dict):
            continue
        scheme = _weights(inside(group, "weights"))
        targets = listed(group, "targets") or ["Linear"]
        named = [each for each in targets if isinstance(each, str) and _is_a_name(each)]
        if named:
            rules += [(left_out, None), (as_names(named), scheme)]
        if len(named) < len(targets):
            default = scheme
    return Quantization(method, default, left_out, tuple(rules), known=default is not None or bool(rules))


def _is_a_name(target: str) -> bool:
    return target.startswith("re:") or "." in target or target.endswith("_proj")


def _weights(weights: Settings) -> Scheme:
    bits, group = whole(weights, "num_bits", default=8), whole(weights, "group_size")
    area = _area(weights, "block_structure")
    if area:
        return Scheme(bits + FULL / area)
    small = weights.get("type") == "float" and bits == 4  # nvfp4, mxfp4: their scales have eight bits
    return _grouped(bits, group, scale=8 if small else HALF, zero=weights.get("symmetric") is False)


def _torchao(method: str, settings: Settings) -> Quantization:
    kind = settings.get("quant_type")
    if isinstance(kind, str):
        scheme = _torchao_type(kind, inside(settings, "quant_type_kwargs"))
        return Quantization(method, scheme, _left_out(settings))
    default = inside(inside(settings, "quant_type"), "default")
    values = inside(default, "_data")
    for key in ("module_fqn_to_config", "fqn_to_config"):
        named = inside(values, key)
        if named:
            own = {name: _torchao_entry(inside(named, name)) for name in named}
            otherwise = own.pop("_default", None)
            return Quantization(method, otherwise, _left_out(settings), _rules(own))
    scheme = _torchao_entry(default)
    return Quantization(method, scheme, _left_out(settings), known=scheme is not None)


def _torchao_entry(entry: Settings) -> Scheme | None:
    return _torchao_type(str(entry.get("_type", "")), inside(entry, "_data"))


def _torchao_type(name: str, values: Settings) -> Scheme | None:
    plain = name.replace("_", "").lower()
    if "mx" in plain or "nvfp4" in plain:
        return NVFP4 if "nvfp4" in plain else MXFP4
    if "int4" in plain or "uintx" in plain or "intx" in plain:
        group = whole(values, "group_size", default=128)
        # tinygemm keeps scale and zero point of a group in half precision.
        return Scheme(4 + 2 * HALF / group)
    return FP8 if "int8" in plain or "float8" in plain else None


def _quark(method: str, settings: Settings) -> Quantization:
    rules = [
        (as_names([name]), _quark_weight(inside(named, name)))
        for named in (inside(settings, "layer_quant_config"), inside(settings, "layer_type_quant_config"))
        for name in named
        if name not in ("Linear", "nn.Linear")
    ]
    scheme = _quark_weight(inside(settings, "global_quant_config"))
    return Quantization(method, scheme, _left_out(settings), tuple(rules), known=scheme is not None)


def _quark_weight(entry: Settings) -> Scheme | None:
    first = next(iter(listed(entry, "weight")), None)
    weight = first if isinstance(first, dict) else inside(entry, "weight")
    kind, group = str(weight.get("dtype", "")).lower(), whole(weight, "group_size")
    if "mx_fp4" in kind or "mxfp4" in kind or kind.startswith("fp4"):
        return Scheme(4 + 8 / (group or 32))
    if "4" in kind.split("_")[0]:
        return _grouped(4, group, zero=weight.get("symmetric") is False)
    return FP8 if "8" in kind.split("_")[0] else None


def _fp_quant(method: str, settings: Settings) -> Quantization:
    four = NVFP4 if "nv" in str(settings.get("forward_dtype", "")).lower() else MXFP4
    return Quantization(method, four, _left_out(settings))


def _quanto(method: str, settings: Settings) -> Quantization:
    bits = "".join(letter for letter in str(settings.get("weights", "")) if letter.isdigit())
    return Quantization(
        method, Scheme(int(bits[:2])) if bits else None, _left_out(settings), known=bool(bits)
    )


READERS: Mapping[str, Callable[[str, Settings], Quantization]] = {
    **dict.fromkeys(("fp8", "fbgemm_fp8", "deepseek_v4_fp8", "fp8_per_tensor", "fp8_per_block"), _fp8),
    **dict.fromkeys(("mxfp4", "gpt_oss_mxfp4"), _experts_in_four),
    **dict.fromkeys(("modelopt", "modelopt_fp4", "modelopt_mixed", "modelopt_mxfp8"), _modelopt),
    **dict.fromkeys(("compressed-tensors", "compressed_tensors"), _compressed),
    "bitsandbytes": _bitsandbytes,
    "hqq": _hqq,
    "aqlm": _aqlm,
    "torchao": _torchao,
    "quark": _quark,
    "fp_quant": _fp_quant,
    "quanto": _quanto,
    **dict.fromkeys(
        ("eetq", "experts_int8"), lambda method, settings: Quantization(method, FP8, _left_out(settings))
    ),
}
