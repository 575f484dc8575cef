"""Why an adapter is where it is, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.placement.needs import Need
from gateway.placement.rules import Rules


def reason(tokens_per_s: float, need: Need, homes: Sequence[str], rules: Rules) -> str:
    """Why the adapter is on so many engines, in one sentence for the plan's reader."""
    if not homes:
        return "No engine with a LoRA slot takes requests."
    count = len(homes)
    many = f"{count} engine{'s' if count > 1 else ''}"
    if tokens_per_s <= 0:
        said = f"Nobody asks for it now: it is kept on {many}"
    else:
        said = f"{tokens_per_s:,.0f} tokens/s{_part(tokens_per_s, rules)}: {many}"
    if count < need.least:
        return f"{said}, {need.least - count} fewer than needed, until moves or slots allow more."
    if count > need.least:
        return f"{said}, more than its traffic needs now; one is given up once the others have room to spare."
    if count == min(rules.min_replicas, count) and count > 1:
        return f"{said}, the least that each adapter has."
    return f"{said}, which is what its traffic needs."


def _part(tokens_per_s: float, rules: Rules) -> str:
    if math.isinf(rules.engine_tokens_per_s):
        return ""
    return f", {tokens_per_s / rules.engine_tokens_per_s:.0%} of what one engine gives"
