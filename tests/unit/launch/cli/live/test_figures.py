"""Rates from two readings."""

from __future__ import annotations

import pytest

from launch.cli.live.figures import figures_between, read_metrics

BEFORE = """\
# TYPE lora_gateway_requests_total counter
lora_gateway_requests_total{task="naming",adapter="a",origin="client",status="200"} 10
# TYPE lora_gateway_completion_tokens_total counter
lora_gateway_completion_tokens_total{task="naming",adapter="a",origin="client"} 100
"""
NOW = """\
# TYPE lora_gateway_requests_total counter
lora_gateway_requests_total{task="naming",adapter="a",origin="client",status="200"} 13
lora_gateway_requests_total{task="naming",adapter="a",origin="client",status="400"} 1
lora_gateway_requests_total{task="naming",adapter="",origin="client",status="429"} 1
lora_gateway_requests_total{task="naming",adapter="a",origin="client",status="499"} 1
lora_gateway_requests_total{task="concept",adapter="b",origin="client",status="200"} 1
# TYPE lora_gateway_completion_tokens_total counter
lora_gateway_completion_tokens_total{task="naming",adapter="a",origin="client"} 180
# TYPE lora_gateway_requests_in_flight gauge
lora_gateway_requests_in_flight{task="naming",adapter="a",origin="client"} 3
# TYPE lora_gateway_time_to_first_token_seconds histogram
lora_gateway_time_to_first_token_seconds_bucket{task="naming",adapter="a",origin="client",le="+Inf"} 2
lora_gateway_time_to_first_token_seconds_count{task="naming",adapter="a",origin="client"} 2
lora_gateway_time_to_first_token_seconds_sum{task="naming",adapter="a",origin="client"} 0.5
"""


def test_what_grew_in_a_second_by_task() -> None:
    tasks = figures_between(read_metrics(BEFORE, 100.0), read_metrics(NOW, 102.0)).tasks
    naming = tasks["naming"]
    assert (naming.requests_per_s, naming.tokens_per_s, naming.errors_per_s) == (3.0, 40.0, 1.0)
    assert (naming.in_flight, naming.waiting, naming.requests) == (3, 0, 16)
    assert naming.first_token_s == 0.25
    assert tasks["concept"].requests_per_s == 0.5
    assert tasks["concept"].first_token_s is None


def test_a_gateway_that_began_anew_makes_no_rate_negative() -> None:
    naming = figures_between(read_metrics(NOW, 100.0), read_metrics(BEFORE, 101.0)).tasks["naming"]
    assert naming.requests_per_s == 10.0


def test_two_looks_at_the_same_moment_divide_by_nothing() -> None:
    assert (
        figures_between(read_metrics(BEFORE, 1.0), read_metrics(NOW, 1.0)).tasks["naming"].requests_per_s == 0
    )


def test_what_is_no_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_metrics("<html>{", 0.0)
