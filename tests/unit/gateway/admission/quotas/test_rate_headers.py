"""OpenAI's headers from accounts as they stand."""

from __future__ import annotations

import pytest

from gateway.admission.quotas.rate_headers import RateLines
from gateway.admission.quotas.scopes import Scope
from gateway.config.limit_settings import LimitConfig
from gateway.http.request_cycle import header_pairs


def scope(**limits: int) -> Scope:
    return Scope("key:a", "the key 'a'", LimitConfig.model_validate(limits))


def row(requests: float = 0.0, tokens: float = 0.0) -> tuple[float, ...]:
    return (requests, 0.0, tokens, 0.0, 0.0, 0.0, 0.0, 0.0)


def told(scopes: list[Scope], rows: list[tuple[float, ...]]) -> dict[str, str]:
    block = RateLines(scopes).block(rows)  # type: ignore[arg-type]
    return {name.decode(): value.decode() for name, value in header_pairs(block)}


def test_each_of_the_first_that_bounds_it() -> None:
    scopes = [scope(max_in_flight=3), scope(tokens_per_minute=600), scope(requests_per_minute=60)]
    scopes.append(scope(requests_per_minute=6, tokens_per_minute=60))
    assert told(scopes, [row(), row(0, 300), row(30), row(1, 1)]) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "30",
        "x-ratelimit-reset-requests": "30s",
        "x-ratelimit-limit-tokens": "600",
        "x-ratelimit-remaining-tokens": "300",
        "x-ratelimit-reset-tokens": "30s",
    }


def test_nothing_is_told_where_no_minute_is_bounded() -> None:
    assert told([scope(max_in_flight=3), scope(tokens_per_day=1000)], [row(), row()]) == {}


@pytest.mark.parametrize(
    ("left", "remaining", "reset"),
    [(60, "60", "0ms"), (59.5, "59", "500ms"), (59, "59", "1s"), (0, "0", "1m0s"), (-300, "0", "6m0s")],
)
def test_times_are_written_as_openai_writes_them(left: float, remaining: str, reset: str) -> None:
    found = told([scope(requests_per_minute=60)], [row(left)])
    assert found["x-ratelimit-remaining-requests"] == remaining
    assert found["x-ratelimit-reset-requests"] == reset
