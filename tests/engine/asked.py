"""What the demo's models are asked."""

from __future__ import annotations

from typing import Any

import httpx

from tests.engine.conftest import RealStack

NAMING = "Definition: a domesticated animal that barks\nMembers: poodle, beagle, terrier"
"""One name is clearly the likeliest: a batch rounds otherwise on some processors, and would settle a tie."""
CLUSTER = "apple\ntruck\nbanana\nbus"
PROMPTS = {
    "base": "The capital of France is",
    "naming": NAMING,
    "concept": CLUSTER,
    "concept-naming": CLUSTER,
}
"""By model."""
CITY: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
"""What a tool takes."""


def post(real: RealStack, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{real.url}{path}", json=body, timeout=240)


def stream_and_leave(real: RealStack, path: str, **body: object) -> None:
    """A client that goes after the first bytes; the engine must be at rest soon after."""
    with httpx.stream("POST", f"{real.url}{path}", json={**body, "stream": True}, timeout=240) as response:
        assert response.status_code == 200
        next(response.iter_raw())
    real.until_idle()
