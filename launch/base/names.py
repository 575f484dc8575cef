"""Which model a name means: what stands behind a path, a cache's folder, or a quantized copy's suffix."""

from __future__ import annotations

import re

HUB_CACHE = re.compile(r"models--(?P<owner>[^/\\]+?)--(?P<name>[^/\\]+)")
"""A folder of the hub's cache; its snapshots lie below it."""
# What those who store a model in fewer bits put behind its name, and other copies' marks.
SUFFIX = re.compile(
    r"-(?:unsloth-bnb-4bit|bnb-[48]bit|[48]bit|unsloth|gptq(?:-int[48])?|awq(?:-int4)?|fp8(?:-dynamic|-block)?|nvfp4|mxfp4"
    r"|int[48]|w[48]a(?:4|8|16)|quantized|bf16|fp16|hf)$"
)


def same_model(one: str, other: str) -> bool:
    """Whether both names mean one model, as far as names tell."""
    return _plain(one) == _plain(other)


def cached_name(path: str) -> str:
    """owner/name where the path lies in the hub's cache, else empty."""
    match = HUB_CACHE.search(path)
    return f"{match['owner']}/{match['name']}" if match else ""


def _plain(name: str) -> str:
    name = cached_name(name) or name
    parts = [part for part in re.split(r"[\\/]+", name.strip()) if part not in ("", ".")]
    last = parts[-1] if parts else ""
    last = last.rsplit(":", 1)[-1].lower()
    last = last.replace("___", ".").replace("_", "-")  # modelscope's cache writes a dot as three of them
    while (shorter := SUFFIX.sub("", last)) != last:
        last = shorter
    return last.removeprefix("meta-")
