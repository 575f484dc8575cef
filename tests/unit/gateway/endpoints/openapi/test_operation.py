"""What every operation says: errors and headers."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.endpoints.openapi.operation import HEADERS, REASONS
from gateway.errors import RequestError

ROOT = Path(__file__).parents[5]


def test_every_header_of_the_gateways_own_is_documented() -> None:
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "gateway").rglob("*.py")]
    literals = (literal for source in sources for literal in re.findall(r'b"([^"]*)"', source))
    sent = {name for literal in literals for name in re.findall(r"x-gateway-[a-z-]+(?=:|$)", literal)}
    assert sent == set(HEADERS)


def test_every_error_has_a_reason() -> None:
    statuses = {error.status for error in RequestError.__subclasses__()}
    assert statuses <= set(REASONS)
