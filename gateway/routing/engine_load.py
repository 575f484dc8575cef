"""What an engine says of its load in Prometheus' text, as vLLM writes it. Pure."""

from __future__ import annotations

import re
from collections import defaultdict

from gateway.admission.engine_bound import EngineLoad

RUNNING, WAITING, BY_REASON = (
    b"num_requests_running",
    b"num_requests_waiting",
    b"num_requests_waiting_by_reason",
)
CACHE, PREEMPTIONS = b"kv_cache_usage_perc", b"num_preemptions_total"
TOKENS = b"prompt_tokens_total", b"generation_tokens_total"
CAPACITY = b'reason="capacity"'
"""Of the reasons to wait: those for which another request would wait too."""
SAMPLE = re.compile(
    rb"^vllm:("
    + rb"|".join((RUNNING, BY_REASON, WAITING, CACHE, PREEMPTIONS, *TOKENS))
    + rb")(\{.*\})? ([0-9.eE+-]+)$",
    re.M,
)


def read_load(text: bytes) -> EngineLoad | None:
    """Of all its ranks together; None where it does not say what runs and waits."""
    found: defaultdict[bytes, list[float]] = defaultdict(list)
    for name, labels, value in SAMPLE.findall(text):
        if name != BY_REASON or CAPACITY in labels:
            found[name].append(float(value))
    # An older vLLM gives no reasons.
    waiting = found.get(BY_REASON) or found.get(WAITING)
    if RUNNING not in found or waiting is None:
        return None
    return EngineLoad(
        running=int(sum(found[RUNNING])),
        waiting=int(sum(waiting)),
        cache_use=max(found[CACHE], default=0.0),
        preemptions=sum(found[PREEMPTIONS]),
        tokens=sum(sum(found[name]) for name in TOKENS),
    )
