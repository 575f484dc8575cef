"""Whether a list of names, globs and expressions, as quantization_config writes them, means a matrix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate

# One decoder layer is called `model.layers.3`, `model.language_model.layers.3`, `backbone.layers.3`, `h.3`.
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.([0-9*]+)(?:\.|$|(?=\*))")
OWNERS = ("model.", "model.language_model.", "language_model.model.", "backbone.", "transformer.", "")
# A mixture's experts are one parameter here and many files' names elsewhere.
SAME = (("block_sparse_moe", "mlp"), ("feed_forward", "mlp"), ("moe.experts", "mlp.experts"))
EXPERT_SIDES = ("gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")


@dataclass(frozen=True)
class Names:
    """A list that was read once; empty it means nothing."""

    whole: frozenset[str] = frozenset()
    starts: tuple[str, ...] = ()
    expressions: tuple[re.Pattern[str], ...] = ()
    globs: tuple[re.Pattern[str], ...] = ()

    def match(self, name: str, layer: int) -> bool:
        """`name` with `{}` for the layer. A name in the list also means what stands below it."""
        return any(self._matches(form, str(layer)) for form in _forms(name))

    def _matches(self, form: str, layer: str) -> bool:
        short = _short(form.replace("{}", layer))
        if short.startswith(self.starts) or any(glob.match(short) for glob in self.globs):
            return True
        if not self.whole.isdisjoint(_below(short)):
            return True
        if not self.expressions:
            return False
        rest = form.partition("{}")[2]
        written = [form.replace("{}", layer), *(f"{owner}layers.{layer}{rest}" for owner in OWNERS)]
        return any(expression.match(each) for expression in self.expressions for each in written)


def as_names(listed: Iterable[object]) -> Names:
    """What is no text, or no expression that can be read, means nothing."""
    plain: set[str] = set()
    starts: list[str] = []
    expressions: list[re.Pattern[str]] = []
    globs: list[re.Pattern[str]] = []
    for name in listed:
        if not isinstance(name, str) or not name:
            continue
        if name.startswith("re:"):
            try:
                expressions.append(re.compile(name[3:]))
            except re.error:
                continue
        elif "*" not in name:
            plain.add(_short(name))
        elif name.endswith("*") and "*" not in name[:-1] and not name.startswith("*"):
            starts.append(_short(name[:-1]))
        else:
            globs.append(re.compile(translate(_short(name)) + "|" + translate(f"{_short(name)}.*")))
    return Names(frozenset(plain), tuple(starts), tuple(expressions), tuple(globs))


def _short(name: str) -> str:
    """From the layer's number on, in one spelling: `3.mlp.experts`."""
    found = LAYER.search(name)
    text = name
    if found is not None:
        text = (
            f"{found[1]}.{name[found.end() :]}".removesuffix(".")
            if found.end() < len(name)
            else f"{found[1]}."
        )
    for other, ours in SAME:
        text = text.replace(other, ours)
    return text


def _below(short: str) -> Iterator[str]:
    """The module, those above it, each also without what stands above: `3.mlp.gate` → `3.mlp`, `mlp`…"""
    words = short.split(".")
    for start in (0, *range(1, len(words))):
        for end in range(start + 1, len(words) + 1):
            yield ".".join(words[start:end]) + ("." if end == 1 and words[0].isdigit() and start == 0 else "")


def _forms(name: str) -> Iterator[str]:
    yield name
    head, found, _ = name.partition(".experts.")
    if found:
        for side in EXPERT_SIDES:
            yield f"{head}.experts.0.{side}"
