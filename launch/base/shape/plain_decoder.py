"""A decoder's parts by arithmetic: exact for the plainest families, an estimate where nothing can count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from launch.base.shape.skeleton import Part, Settings, Skeleton, inside, listed, text_part, whole

PLAIN = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Held against transformers in a test; for them no process is started and nothing is imported."""

# The names under which the families write one thing.
SAME: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model", "dim", "model_dim", "embed_dim"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "num_key_value_heads": (
        *("num_key_value_heads", "n_head_kv", "num_kv_heads", "n_kv_heads", "multi_query_group_num"),
        "num_query_groups",
    ),
    "head_dim": ("head_dim", "kv_channels", "attention_head_dim"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
}
LINEAR = "linear_attn_config"
NARROWED = ("routed_expert_hidden_size", "moe_latent_size")
"""Where a mixture's experts work on something narrower than the hidden state."""
BOTH_SIDES = frozenset({"molmo"})
"""Families that write the width of gate and up together."""
EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")


NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def is_plain(config: Settings) -> bool:
    """Whether arithmetic is enough: a plain family whose config.json leaves nothing to its class."""
    said = all(whole(config, name) for name in (*NEEDED, "num_key_value_heads", "intermediate_size"))
    return config.get("model_type") in PLAIN and said and config.get("use_sliding_window") is not True


def plain_decoder(config: Settings) -> Skeleton:
    """Of a family in PLAIN."""
    settings = _named(config)
    if config.get("model_type") == "mistral":
        settings.setdefault("sliding_window", 4096)  # its class's
    return Skeleton(settings, tuple(_parts(settings)), "config.json")


def estimate(config: Settings, reason: str) -> Skeleton:
    """From the names that most families share; no parts where not even those are there."""
    settings = _named(text_part(config))
    linear = inside(settings, LINEAR)
    if linear:
        settings["linear_num_value_heads"] = linear.get("num_heads")
        settings["linear_key_head_dim"] = settings["linear_value_head_dim"] = linear.get("head_dim")
    parts = tuple(_parts(settings)) if all(whole(settings, name) for name in NEEDED) else ()
    return Skeleton(settings, parts, "config.json, estimated", exact=False, reason=reason)


def _named(config: Settings) -> dict[str, object]:
    settings = dict(config)
    for name, others in SAME.items():
        value = whole(config, *others)
        if value:
            settings[name] = value
    if config.get("model_type") in BOTH_SIDES:
        settings["intermediate_size"] = whole(settings, "intermediate_size") // 2
    heads = whole(settings, "num_attention_heads")
    settings.setdefault("num_key_value_heads", heads)
    if not whole(settings, "num_key_value_heads"):
        settings["num_key_value_heads"] = heads
    if not whole(settings, "head_dim") and heads:
        # Qwen3's class has a head size of its own, whatever the hidden size.
        own = 128 if config.get("model_type") == "qwen3" else whole(settings, "hidden_size") // heads
        settings["head_dim"] = own
    return settings


def _parts(settings: Settings) -> Iterator[Part]:
    hidden, vocabulary = whole(settings, "hidden_size"), whole(settings, "vocab_size")
    layers = tuple(range(whole(settings, "num_hidden_layers")))
    yield Part("model.embed_tokens", "embedding", (vocabulary, hidden))
    if settings.get("tie_word_embeddings") is not True:
        yield Part("lm_head", "linear", (hidden, vocabulary))
    yield Part("model.norm", "plain", (hidden,))
    for name in ("input_layernorm", "post_attention_layernorm"):
        yield Part(f"model.layers.{{}}.{name}", "plain", (hidden,), layers)
    if listed(settings, "block_configs"):
        yield from _searched(settings)
        return
    delta = listed(inside(settings, LINEAR), "kda_layers")  # counted from one
    attends = tuple(layer for layer in layers if layer + 1 not in delta)
    yield from (
        _latent(settings, attends) if whole(settings, "kv_lora_rank") else _attention(settings, attends)
    )
    if len(attends) < len(layers):
        yield from _delta(settings, tuple(layer for layer in layers if layer not in attends))
    first = (
        min(whole(settings, "first_k_dense_replace"), len(layers))
        if whole(settings, *EXPERTS)
        else len(layers)
    )
    if first:
        yield from _feed(settings, "mlp", whole(settings, "intermediate_size"), layers[:first])
    if first < len(layers):
        yield from _mixture(settings, layers[first:])


def _attention(settings: Settings, layers: tuple[int, ...]) -> Iterator[Part]:
    hidden, head = whole(settings, "hidden_size"), whole(settings, "head_dim")
    wide = whole(settings, "num_attention_heads") * head
    narrow = whole(settings, "num_key_value_heads") * head
    family = settings.get("model_type")
    biased = settings.get("attention_bias") is True
    sides = {"q": (hidden, wide), "k": (hidden, narrow), "v": (hidden, narrow), "o": (wide, hidden)}
    for name, shape in sides.items():
        full = f"model.layers.{{}}.self_attn.{name}_proj"
        yield Part(full, "linear", shape, layers)
        if biased or (family == "qwen2" and name != "o"):  # its config.json does not say it
            yield Part(f"{full}.bias", "plain", shape[1:], layers)
    if family == "qwen3":
        for name in ("q_norm", "k_norm"):
            yield Part(f"model.layers.{{}}.self_attn.{name}", "plain", (head,), layers)


def _latent(settings: Settings, layers: tuple[int, ...]) -> Iterator[Part]:
    hidden, heads = whole(settings, "hidden_size"), whole(settings, "num_attention_heads")
    nope, rope = whole(settings, "qk_nope_head_dim"), whole(settings, "qk_rope_head_dim")
    value, rank = whole(settings, "v_head_dim"), whole(settings, "kv_lora_rank")
    asked = whole(settings, "q_lora_rank")
    sides = {"q_proj": (hidden, heads * (nope + rope))}
    if asked:
        sides = {"q_a_proj": (hidden, asked), "q_b_proj": (asked, heads * (nope + rope))}
    sides |= {
        "kv_a_proj_with_mqa": (hidden, rank + rope),
        "kv_b_proj": (rank, heads * (nope + value)),
        "o_proj": (heads * value, hidden),
    }
    for name, shape in sides.items():
        yield Part(f"model.layers.{{}}.self_attn.{name}", "linear", shape, layers)


def _delta(settings: Settings, layers: tuple[int, ...]) -> Iterator[Part]:
    """Kimi's linear attention: keys, values and a gate of one width, and a state in place of a cache."""
    linear, hidden = inside(settings, LINEAR), whole(settings, "hidden_size")
    wide = whole(linear, "num_heads") * whole(linear, "head_dim")
    owner = "model.layers.{}.linear_attn"
    for name in ("q", "k", "v", "g"):
        yield Part(f"{owner}.{name}_proj", "linear", (hidden, wide), layers)
    yield Part(f"{owner}.o_proj", "linear", (wide, hidden), layers)
    yield Part(f"{owner}.conv1d", "conv", (whole(linear, "short_conv_kernel_size"), 3 * wide), layers)
    yield Part(f"{owner}.A_log", "plain", (whole(linear, "num_heads"),), layers)


def _feed(settings: Settings, owner: str, inner: int, layers: tuple[int, ...]) -> Iterator[Part]:
    hidden = whole(settings, "hidden_size")
    for name, shape in {"gate": (hidden, inner), "up": (hidden, inner), "down": (inner, hidden)}.items():
        full = f"model.layers.{{}}.{owner}.{name}_proj"
        yield Part(full, "linear", shape, layers)
        if settings.get("mlp_bias") is True:
            yield Part(f"{full}.bias", "plain", shape[1:], layers)


def _mixture(settings: Settings, layers: tuple[int, ...]) -> Iterator[Part]:
    hidden, experts = whole(settings, "hidden_size"), whole(settings, *EXPERTS)
    inner = whole(settings, "moe_intermediate_size", "intermediate_size")
    name = "model.layers.{}.mlp."
    latent = whole(settings, *NARROWED)
    outer = latent or hidden
    yield Part(f"{name}gate", "linear", (hidden, experts), layers)
    yield Part(f"{name}experts.gate_up_proj", "experts", (experts, 2 * inner, outer), layers)
    yield Part(f"{name}experts.down_proj", "experts", (experts, outer, inner), layers)
    if latent:
        yield Part(f"{name}routed_expert_down_proj", "linear", (hidden, latent), layers)
        yield Part(f"{name}routed_expert_up_proj", "linear", (latent, hidden), layers)
    shared = whole(settings, "shared_expert_intermediate_size")
    shared = shared or whole(settings, "n_shared_experts", "num_shared_experts") * inner
    if shared:
        yield from _feed(settings, "mlp.shared_experts", shared, layers)


def _searched(settings: Settings) -> Iterator[Part]:
    """Layers that a search made unlike each other, some without one of their halves (Nemotron-NAS)."""
    hidden, heads = whole(settings, "hidden_size"), whole(settings, "num_attention_heads")
    alike: dict[tuple[str, int], list[int]] = {}
    for layer, block in enumerate(listed(settings, "block_configs")):
        half = block if isinstance(block, dict) else {}
        reads, feeds = inside(half, "attention"), inside(half, "ffn")
        group = whole(reads, "n_heads_in_group")
        inner = whole(feeds, "intermediate_size") or _multiple(feeds.get("ffn_mult"), hidden)
        for name, size, said in (("attention", heads // group if group else 0, reads), ("mlp", inner, feeds)):
            if said.get("replace_with_linear") is True:
                alike.setdefault((f"{name}.linear", hidden), []).append(layer)
            elif said.get("no_op") is not True and size:
                alike.setdefault((name, size), []).append(layer)
    for (name, size), layers in alike.items():
        if name == "attention":
            yield from _attention({**settings, "num_key_value_heads": size}, tuple(layers))
        elif name == "mlp":
            yield from _feed(settings, name, size, tuple(layers))
        else:
            yield Part(f"model.layers.{{}}.{name}", "linear", (hidden, hidden), tuple(layers))


def _multiple(times: object, hidden: int) -> int:
    """vLLM's `_ffn_mult_to_intermediate_size` (nemotron_nas.py)."""
    if not isinstance(times, int | float) or isinstance(times, bool):
        return 0
    return -(-int(2 * times * hidden / 3) // 256) * 256
