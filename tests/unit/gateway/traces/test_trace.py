"""What the conventions call an operation."""

from __future__ import annotations

import pytest

from gateway.traces.trace import operation_of


@pytest.mark.parametrize(
    ("path", "generates", "name"),
    [
        (b"/v1/chat/completions", True, "chat"),
        (b"/v1/messages", True, "chat"),
        (b"/v1/completions", True, "text_completion"),
        (b"/v1/embeddings", False, "embeddings"),
        (b"/tokenize", False, "tokenize"),
    ],
)
def test_operations(path: bytes, generates: bool, name: str) -> None:
    assert operation_of(path, generates) == name
