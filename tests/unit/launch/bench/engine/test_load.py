"""What vLLM's own load is told, and what it came to."""

from __future__ import annotations

import pytest

from gateway.errors import EngineFailure
from launch.bench.engine.load import Load, Target, check_whole, client_arguments
from launch.bench.engine.rounds import (
    arms_of,
)

LOAD = Load(requests=16, concurrency=8, input_tokens=64, output_tokens=48)


ADAPTERS = {"naming": "naming@1", "concept": "concept@2", "bench-1": "bench-1@3", "bench-2": "bench-2@4"}


def test_both_ways_are_asked_the_same() -> None:
    arms = {a.name: a for a in arms_of("http://e", "http://g", "base", ADAPTERS, "naming", LOAD, None)}
    direct, routed = (
        client_arguments(arms[name].target, LOAD, "/tok", seed=3, salt=name) for name in ("direct", "gateway")
    )
    differing = {(a, b) for a, b in zip(direct, routed, strict=True) if a != b}
    assert {("http://e", "http://g"), ("naming@1", "naming")} <= differing
    assert len(differing) == 3  # the address, the model and the salt


def test_a_mix_goes_to_its_adapters_in_turn() -> None:
    arguments = client_arguments(Target("http://e", ("a", "b")), LOAD, "/tok", seed=1, salt="s")
    at = arguments.index("--lora-modules")
    assert arguments[at : at + 5] == ["--lora-modules", "a", "b", "--lora-assignment", "round-robin"]
    assert "--lora-modules" not in client_arguments(Target("http://e", ("a",)), LOAD, "/t", seed=1, salt="s")


@pytest.mark.parametrize(
    "result",
    [
        {"error": "it fell over"},
        {"completed": 15, "total_output_tokens": 720, "first_error": "Unauthorized"},
        {"completed": 16, "total_output_tokens": 767, "first_error": ""},
    ],
)
def test_a_run_that_is_not_whole_is_an_error(result: dict[str, object]) -> None:
    with pytest.raises(EngineFailure):
        check_whole(result, LOAD)
    check_whole({"completed": 16, "total_output_tokens": 768}, LOAD)
