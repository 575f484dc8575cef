"""A stream's chunks as one completion, or why it is none."""

from __future__ import annotations

import pytest

from gateway.errors import EngineFailure
from launch.bench.faults.churn_load import gathered

CHUNK = b'data: {"model": "red@1", "choices": [{"logprobs": {"token_logprobs": [%b]}}]}\n\n'


def test_chunks_add_up() -> None:
    stream = (
        CHUNK % b"-1.0"
        + b": a comment\n\n"
        + CHUNK % b"-2.0, -3.0"
        + b'data: {"choices": []}\n\ndata: [DONE]\n\n'
    )
    assert gathered(stream) == {
        "model": "red@1",
        "choices": [{"logprobs": {"token_logprobs": [-1.0, -2.0, -3.0]}}],
    }


@pytest.mark.parametrize("stream", [b"", CHUNK % b"-1.0", b'data: {"error": {}}\n\n'])
def test_stream_without_its_end_is_no_answer(stream: bytes) -> None:
    with pytest.raises(EngineFailure, match="without its end"):
        gathered(stream)
